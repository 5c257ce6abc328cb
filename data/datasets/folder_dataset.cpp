#include "data/datasets/folder_dataset.h"

#include <algorithm>
#include <numeric>

#include "data/files/file.h"
#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {

ColorClasses numbered(const Palette& palette) {
  ColorClasses classes;
  for (std::size_t k = 0; k < palette.size(); ++k)
    classes.emplace(palette[k], static_cast<std::uint8_t>(k));
  return classes;
}

std::int64_t convert_colors(const ColorClasses& classes, std::span<const std::uint8_t> rgb,
                            std::span<std::uint8_t> out) {
  check(rgb.size() == 3 * out.size(), "colour labels: {} bytes for {} pixels", rgb.size(),
        out.size());
  std::int64_t unknown = 0;
  auto at = classes.end();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto color_of = [&](std::size_t k) {
      return Color{rgb[3 * k], rgb[3 * k + 1], rgb[3 * k + 2]};
    };
    // Labels come in runs of one colour: the search is rare.
    if (i == 0 || color_of(i) != color_of(i - 1)) at = classes.find(color_of(i));
    out[i] = at == classes.end() ? std::uint8_t{kIgnoreLabel} : at->second;
    unknown += at == classes.end();
  }
  return unknown;
}

LabelMap convert_colors(const ColorClasses& classes, const Image& image, const std::string& name,
                        const std::string& description) {
  LabelMap label{image.height, image.width, {}};
  label.values.resize(image.pixels.size() / 3);
  const std::int64_t unknown = convert_colors(classes, image.pixels, label.values);
  const bool exact = !description.empty();
  if (!exact && 2 * unknown > image.height * image.width) refuse_colors(name);
  if (!exact || unknown == 0) return label;
  const std::uint8_t* at = image.pixels.data();
  while (classes.contains({at[0], at[1], at[2]})) at += 3;
  const std::int64_t pixel = (at - image.pixels.data()) / 3;
  fail_input(
      "{}: colour [{}, {}, {}] at ({}, {}){} is none of the palette's; correct the file, or "
      "add the colour to palette or ignore_colors in {}",
      name, at[0], at[1], at[2], pixel % label.width, pixel / label.width,
      unknown > 1 ? fmt::format(" and {} other pixels", unknown - 1) : "", description);
}

void refuse_colors(const std::string& name) {
  fail_input("{}: most of its colours are no class's; give the semantic labels of this data set",
             name);
}

bool is_color_png(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kColorType = 25;  // after signature, chunk head, width, height and depth
  return bytes.size() > kColorType && bytes[0] == 0x89 && bytes[1] == 'P' &&
         (bytes[kColorType] == 2 || bytes[kColorType] == 6);
}

namespace {

class FolderDataset : public Dataset {
 public:
  FolderDataset(FolderSpec spec, std::vector<std::string>* problems)
      : spec_(std::move(spec)), pairs_(pair_files(spec_.parts, problems)) {
    classes_ = spec_.classes;
    palette_ = spec_.palette;
    submission_ = spec_.submission;
  }

  std::int64_t size() const override { return std::ssize(pairs_); }
  std::string name(std::int64_t i) const override { return pair(i).name; }
  std::string image_path(std::int64_t i) const override { return pair(i).image; }
  std::string label_path(std::int64_t i) const override { return pair(i).label; }
  bool has_labels() const override { return !spec_.parts.front().labels.empty(); }
  Image load_image(std::int64_t i) const override { return read_image(pair(i).image); }

  LabelMap load_label(std::int64_t i) const override {
    const std::string& path = pair(i).label;
    if (path.empty()) return {};
    const std::vector<std::uint8_t> bytes = read_file(path, kMaxPictureFile);
    if (is_color_png(bytes) && (!spec_.colors.empty() || !spec_.description.empty()))
      return read_colors(bytes, path);
    if (!spec_.values.empty()) return decode_label(bytes, path, &spec_.values);
    LabelMap label = decode_label(bytes, path);
    apply_mapping(label, path);
    return label;
  }

  Sample load(std::int64_t i) const override {
    const FilePair& p = pair(i);
    const std::vector<std::uint8_t> bytes = read_file(p.image, kMaxPictureFile);
    LabelMap label = load_label(i);
    const codecs::Header header = codecs::read_header(bytes, p.image);
    if (has_labels() && (header.height != label.height || header.width != label.width))
      fail_input("{}: {} x {} labels for the {} x {} pixels of {}; {}", p.label, label.width,
                 label.height, header.width, header.height, p.image, codecs::size_remedy(header));
    return {p.name, decode_image(bytes, p.image), std::move(label)};
  }

  std::vector<int> ignored_values() const override {
    std::vector<int> ignored;
    for (const auto& [value, k] : spec_.values)
      if (k == kIgnoreLabel) ignored.push_back(value);
    for (std::size_t v = 0; v < 256 && spec_.values.empty(); ++v)
      if (spec_.mapping[v] == kIgnoreLabel) ignored.push_back(static_cast<int>(v));
    return ignored;
  }

 private:
  const FilePair& pair(std::int64_t i) const { return pairs_[checked(i)]; }

  LabelMap read_colors(const std::vector<std::uint8_t>& bytes, const std::string& path) const {
    if (spec_.colors.empty())
      fail_input(
          "{}: is a colour picture; say in {} which colour is which class (palette = [[red, "
          "green, blue], ...]), or convert it to class indices (grey or palette PNG)",
          path, spec_.description);
    if (const int orientation = codecs::read_header(bytes, path).orientation; orientation != 1)
      fail_input("{}: labels with EXIF orientation {}; save them upright, without it", path,
                 orientation);
    return convert_colors(spec_.colors, decode_image(bytes, path), path, spec_.description);
  }

  void apply_mapping(LabelMap& label, const std::string& path) const {
    const auto invalid = [&](std::uint8_t v) { return spec_.mapping[v] < 0; };
    if (const auto n = std::ranges::count_if(label.values, invalid); n > 0) {
      const auto at = std::ranges::find_if(label.values, invalid);
      const std::int64_t index = at - label.values.begin();
      fail_input(
          "{}: label {} at ({}, {}){} stands for none of the {} classes; correct the file{}", path,
          *at, index % label.width, index / label.width,
          n > 1 ? fmt::format(" and {} other pixels", n - 1) : "", num_classes(),
          spec_.description.empty()
              ? ", or the classes it is read with"
              : fmt::format(", or say in {} what it stands for ([values])", spec_.description));
    }
    for (std::uint8_t& v : label.values) v = static_cast<std::uint8_t>(spec_.mapping[v]);
  }

  FolderSpec spec_;
  std::vector<FilePair> pairs_;
};

}  // namespace

std::array<int, 256> plain_mapping(int classes, int first) {
  check(classes >= 1 && first >= 0 && classes + first <= 255, "mapping of {} classes from {}",
        classes, first);
  std::array<int, 256> mapping{};
  mapping.fill(-1);
  std::fill_n(mapping.begin(), first, kIgnoreLabel);
  std::iota(mapping.begin() + first, mapping.begin() + first + classes, 0);
  mapping[255] = kIgnoreLabel;
  return mapping;
}

std::unique_ptr<Dataset> open_folders(FolderSpec spec, std::vector<std::string>* problems) {
  check(!spec.parts.empty(), "data set: no folders");
  return std::make_unique<FolderDataset>(std::move(spec), problems);
}

}  // namespace nextgrad
