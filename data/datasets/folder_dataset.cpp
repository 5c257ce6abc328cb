#include "data/datasets/folder_dataset.h"

#include <algorithm>

#include "data/datasets/pairing.h"
#include "data/files/file.h"
#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {

std::array<int, 256> plain_mapping(int classes, int first) {
  check(classes >= 1 && first >= 0 && classes + first <= 255, "mapping of {} classes from {}",
        classes, first);
  std::array<int, 256> mapping{};
  mapping.fill(-1);
  for (int k = 0; k < first; ++k) mapping[static_cast<std::size_t>(k)] = kIgnoreLabel;
  for (int k = 0; k < classes; ++k) mapping[static_cast<std::size_t>(k + first)] = k;
  mapping[255] = kIgnoreLabel;
  return mapping;
}

FolderDataset::FolderDataset(FolderSpec spec, std::vector<std::string>* problems) {
  classes_ = std::move(spec.classes);
  palette_ = std::move(spec.palette);
  submission_ = std::move(spec.submission);
  if (!spec.colors.empty()) colors_.emplace(std::move(spec.colors));
  exact_colors_ = spec.exact_colors;
  description_ = std::move(spec.description);
  values_ = std::move(spec.values);
  for (const auto& [value, k] : values_)
    if (k == kIgnoreLabel) ignored_values_.push_back(value);
  for (int v = 0; v < 256 && values_.empty(); ++v)
    if (spec.mapping[static_cast<std::size_t>(v)] == kIgnoreLabel) ignored_values_.push_back(v);
  for (std::size_t v = 0; v < 256; ++v) {
    value_[v] = static_cast<std::uint8_t>(spec.mapping[v] < 0 ? kIgnoreLabel : spec.mapping[v]);
    invalid_[v] = spec.mapping[v] < 0;
  }
  check(!spec.parts.empty(), "data set: no folders");
  has_labels_ = !spec.parts.front().labels.empty();
  for (FilePair& p : pair_files(spec.parts, problems))
    pairs_.push_back({std::move(p.name), std::move(p.image), std::move(p.label)});
}

const FolderDataset::Pair& FolderDataset::pair(std::int64_t i) const {
  check(i >= 0 && i < size(), "data set: sample {} of {}", i, size());
  return pairs_[static_cast<std::size_t>(i)];
}

void FolderDataset::apply_mapping(LabelMap& label, const std::string& path) const {
  unsigned invalid = 0;
  for (const std::uint8_t v : label.values) invalid |= invalid_[v];
  if (invalid != 0) {
    const auto at = std::find_if(label.values.begin(), label.values.end(),
                                 [&](std::uint8_t v) { return invalid_[v] != 0; });
    const std::int64_t index = at - label.values.begin();
    const auto others =
        std::count_if(at + 1, label.values.end(), [&](std::uint8_t v) { return invalid_[v] != 0; });
    fail_input("{}: label {} at ({}, {}){} stands for none of the {} classes; correct the file{}",
               path, *at, index % label.width, index / label.width,
               others > 0 ? fmt::format(" and {} other pixels", others) : "", num_classes(),
               description_.empty()
                   ? ", or the classes it is read with"
                   : fmt::format(", or say in {} what it stands for ([values])", description_));
  }
  for (std::uint8_t& v : label.values) v = value_[v];
}

Image FolderDataset::load_image(std::int64_t i) const {
  return read_image(pair(i).image);
}

LabelMap FolderDataset::load_label(std::int64_t i) const {
  const std::string& path = pair(i).label;
  if (path.empty()) return {};
  const std::vector<std::uint8_t> bytes = read_file(path, 1ull << 31);
  if (is_color_png(bytes) && (colors_ || !description_.empty())) return read_colors(bytes, path);
  if (!values_.empty()) return decode_label(bytes, path, values_);
  LabelMap label = decode_label(bytes, path);
  apply_mapping(label, path);
  return label;
}

LabelMap FolderDataset::read_colors(const std::vector<std::uint8_t>& bytes,
                                    const std::string& path) const {
  if (!colors_)
    fail_input(
        "{}: is a colour picture; say in {} which colour is which class (palette = [[red, "
        "green, blue], ...]), or convert it to class indices (grey or palette PNG)",
        path, description_);
  if (const int orientation = codecs::read_header(bytes, path).orientation; orientation != 1)
    fail_input("{}: labels with EXIF orientation {}; save them upright, without it", path,
               orientation);
  const Image image = decode_image(bytes, path);
  return exact_colors_ ? colors_->convert_exactly(image, path, description_)
                       : colors_->convert(image, path);
}

Sample FolderDataset::load(std::int64_t i) const {
  const Pair& p = pair(i);
  const std::vector<std::uint8_t> bytes = read_file(p.image, 1ull << 31);
  LabelMap label = load_label(i);
  const codecs::Header header = codecs::read_header(bytes, p.image);
  if (has_labels_ && (header.height != label.height || header.width != label.width))
    fail_input("{}: {} x {} labels for the {} x {} pixels of {}; {}", p.label, label.width,
               label.height, header.width, header.height, p.image, codecs::size_remedy(header));
  return {p.name, decode_image(bytes, p.image), std::move(label)};
}

}  // namespace nextgrad
