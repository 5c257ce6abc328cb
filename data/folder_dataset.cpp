#include "data/folder_dataset.h"

#include <algorithm>

#include "data/file.h"
#include "data/pairing.h"
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
               ", or the classes it is read with");
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
  if (colors_ && is_color_png(bytes)) return colors_->convert(decode_image(bytes, path), path);
  LabelMap label = decode_label(bytes, path);
  apply_mapping(label, path);
  return label;
}

Sample FolderDataset::load(std::int64_t i) const {
  const Pair& p = pair(i);
  Sample sample{p.name, load_image(i), load_label(i)};
  if (has_labels_ &&
      (sample.image.height != sample.label.height || sample.image.width != sample.label.width))
    fail_input("{}: {} x {} labels for the {} x {} pixels of {}; make them the same size", p.label,
               sample.label.width, sample.label.height, sample.image.width, sample.image.height,
               p.image);
  return sample;
}

}  // namespace nextgrad
