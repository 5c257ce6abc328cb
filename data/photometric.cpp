#include <algorithm>
#include <cmath>

#include "data/hsv.h"
#include "data/transforms.h"

namespace nextgrad {
namespace {

using Table = std::array<std::uint8_t, 256>;

// What MMSegmentation's `convert` does to an 8-bit value: scale, add, clip, cut the fraction.
Table affine_table(double alpha, double beta) {
  Table table{};
  for (std::size_t v = 0; v < table.size(); ++v)
    table[v] = static_cast<std::uint8_t>(
        std::clamp(static_cast<float>(v) * static_cast<float>(alpha) + static_cast<float>(beta),
                   0.0f, 255.0f));
  return table;
}

void map_pixels(Image& image, const Table& table) {
  for (std::uint8_t& value : image.pixels) value = table[value];
}

// Maps one channel of HSV.
void map_hsv(Image& image, std::size_t channel, const Table& table) {
  for (std::size_t i = 0; i + 2 < image.pixels.size(); i += 3) {
    std::uint8_t* p = image.pixels.data() + i;
    auto hsv = rgb_to_hsv({p[0], p[1], p[2]});
    hsv[channel] = table[hsv[channel]];
    const Color rgb = hsv_to_rgb(hsv);
    std::copy(rgb.begin(), rgb.end(), p);
  }
}

}  // namespace

// OpenCV's fixed-point arithmetic: division by tables of 12 fractional bits.
std::array<std::uint8_t, 3> rgb_to_hsv(Color rgb) {
  struct Tables {
    std::array<int, 256> saturation{}, hue{};
    Tables() {
      for (std::size_t i = 1; i < 256; ++i) {
        const auto v = static_cast<double>(i);
        saturation[i] = static_cast<int>(std::lrint((255 << 12) / v));
        hue[i] = static_cast<int>(std::lrint((180 << 12) / (6 * v)));
      }
    }
  };
  static const Tables tables;
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int v = std::max({r, g, b}), diff = v - std::min({r, g, b});
  const int s = (diff * tables.saturation[static_cast<std::size_t>(v)] + (1 << 11)) >> 12;
  int h = v == r ? g - b : v == g ? b - r + 2 * diff : r - g + 4 * diff;
  h = (h * tables.hue[static_cast<std::size_t>(diff)] + (1 << 11)) >> 12;
  if (h < 0) h += 180;
  return {static_cast<std::uint8_t>(h), static_cast<std::uint8_t>(s), static_cast<std::uint8_t>(v)};
}

Color hsv_to_rgb(std::array<std::uint8_t, 3> hsv) {
  const float sixth = static_cast<float>(hsv[0]) * (6.0f / 180.0f);
  const float s = static_cast<float>(hsv[1]) / 255.0f, v = static_cast<float>(hsv[2]);
  const int sector = static_cast<int>(sixth) % 6;
  const float f = sixth - std::floor(sixth);
  const float level[4] = {v, v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))};
  static constexpr int kSector[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3},
                                        {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
  Color rgb{};
  for (std::size_t c = 0; c < 3; ++c)
    rgb[c] = static_cast<std::uint8_t>(std::lrint(level[kSector[sector][c]]));
  return rgb;
}

void Photometric::apply(Image& image, RandomStream& random) const {
  if (!enabled) return;
  const auto change_contrast = [&] {
    if (random.chance(p))
      map_pixels(image, affine_table(random.uniform(contrast_min, contrast_max), 0));
  };
  if (random.chance(p)) map_pixels(image, affine_table(1, random.uniform(-brightness, brightness)));
  const bool contrast_first = random.chance(0.5);
  if (contrast_first) change_contrast();
  if (random.chance(p))
    map_hsv(image, 1, affine_table(random.uniform(saturation_min, saturation_max), 0));
  if (random.chance(p) && hue > 0) {
    const int shift = static_cast<int>(random.below(2 * static_cast<std::uint64_t>(hue))) - hue;
    Table table{};
    for (int h = 0; h < 180; ++h)
      table[static_cast<std::size_t>(h)] = static_cast<std::uint8_t>((h + shift + 180) % 180);
    map_hsv(image, 0, table);
  }
  if (!contrast_first) change_contrast();
}

}  // namespace nextgrad
