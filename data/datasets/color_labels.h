// Labels painted as colours: RGB pictures in which each class has one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/images/image.h"

namespace nextgrad {

using ColorClasses = std::vector<std::pair<Color, std::uint8_t>>;
// Each colour is the class of its place.
ColorClasses numbered(const Palette& palette);

// Class of each colour; every other colour is ignored (255): drawn borders, smoothed edges.
class ColorLabels {
 public:
  explicit ColorLabels(const ColorClasses& classes);
  // RGB pixels [n,3] to classes [n]; returns how many have no class's colour. Throws Error unless
  // the lengths agree.
  std::int64_t convert(std::span<const std::uint8_t> rgb, std::span<std::uint8_t> out) const;
  // The same for a picture. Throws InputError that names `name` if more than half of it has no
  // class's colour: then it is something else, a photograph or numbered instances. With
  // `description`, the file that the colours are from, any colour that no class has is refused: the
  // error also names the first such pixel.
  LabelMap convert(const Image& image, const std::string& name,
                   const std::string& description = {}) const;
  // The message of convert's error.
  [[noreturn]] void refuse(const std::string& name) const;

 private:
  using Entry = std::pair<std::uint32_t, std::uint8_t>;  // packed colour, class
  const Entry* find(std::uint32_t color) const;          // null: no class's
  std::vector<Entry> classes_;                           // sorted
};

// Whether the bytes are a PNG of colours (RGB, RGBA), not of grey values or palette indices.
bool is_color_png(std::span<const std::uint8_t> bytes);

}  // namespace nextgrad
