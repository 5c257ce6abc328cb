#include "data/datasets/color_labels.h"

#include <algorithm>

#include "tensor/error.h"

namespace nextgrad {
namespace {

std::uint32_t pack(const std::uint8_t* rgb) {
  return static_cast<std::uint32_t>(rgb[0] << 16 | rgb[1] << 8 | rgb[2]);
}

constexpr std::uint32_t kNoColor = 0xffffffff;

}  // namespace

ColorClasses numbered(const Palette& palette) {
  ColorClasses classes;
  for (const Color& color : palette)
    classes.emplace_back(color, static_cast<std::uint8_t>(classes.size()));
  return classes;
}

ColorLabels::ColorLabels(const ColorClasses& classes) {
  for (const auto& [color, k] : classes) classes_.emplace_back(pack(color.data()), k);
  std::sort(classes_.begin(), classes_.end());
}

const ColorLabels::Entry* ColorLabels::find(std::uint32_t color) const {
  const auto at = std::lower_bound(classes_.begin(), classes_.end(), Entry(color, 0));
  return at == classes_.end() || at->first != color ? nullptr : &*at;
}

std::int64_t ColorLabels::convert(std::span<const std::uint8_t> rgb,
                                  std::span<std::uint8_t> out) const {
  check(rgb.size() == 3 * out.size(), "colour labels: {} bytes for {} pixels", rgb.size(),
        out.size());
  // Labels come in runs of one colour: the search is rare.
  std::uint32_t last = kNoColor;
  std::uint8_t value = kIgnoreLabel;
  std::int64_t unknown = 0, is_unknown = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint32_t color = pack(rgb.data() + 3 * i);
    if (color != last) {
      last = color;
      const Entry* at = find(color);
      is_unknown = at == nullptr;
      value = is_unknown ? std::uint8_t{kIgnoreLabel} : at->second;
    }
    out[i] = value;
    unknown += is_unknown;
  }
  return unknown;
}

LabelMap ColorLabels::convert(const Image& image, const std::string& name,
                              const std::string& description) const {
  LabelMap label{image.height, image.width, {}};
  label.values.resize(image.pixels.size() / 3);
  const std::int64_t unknown = convert(image.pixels, label.values);
  const bool exact = !description.empty();
  if (!exact && 2 * unknown > image.height * image.width) refuse(name);
  if (!exact || unknown == 0) return label;
  const std::uint8_t* at = image.pixels.data();
  while (find(pack(at)) != nullptr) at += 3;
  const std::int64_t pixel = (at - image.pixels.data()) / 3;
  fail_input(
      "{}: colour [{}, {}, {}] at ({}, {}){} is none of the palette's; correct the file, or "
      "add the colour to palette or ignore_colors in {}",
      name, at[0], at[1], at[2], pixel % label.width, pixel / label.width,
      unknown > 1 ? fmt::format(" and {} other pixels", unknown - 1) : "", description);
}

void ColorLabels::refuse(const std::string& name) const {
  fail_input("{}: most of its colours are no class's; give the semantic labels of this data set",
             name);
}

bool is_color_png(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kColorType = 25;  // after signature, chunk head, width, height and depth
  return bytes.size() > kColorType && bytes[0] == 0x89 && bytes[1] == 'P' &&
         (bytes[kColorType] == 2 || bytes[kColorType] == 6);
}

}  // namespace nextgrad
