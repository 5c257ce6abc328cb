#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/augment/transforms.h"

namespace nextgrad {
namespace {

// What MMSegmentation's `convert` does to an 8-bit value: scale, add, clip, cut the fraction.
void map_values(std::span<std::uint8_t> values, double by, double plus) {
  const auto alpha = static_cast<float>(by), beta = static_cast<float>(plus);
  std::uint8_t* const at = values.data();
#pragma omp simd
  for (std::size_t i = 0; i < values.size(); ++i) {
    float v = static_cast<float>(at[i]) * alpha + beta;
    v = v < 0.0f ? 0.0f : v;
    at[i] = static_cast<std::uint8_t>(static_cast<int>(v > 255.0f ? 255.0f : v));
  }
}

// Division by tables of 12 fractional bits, as OpenCV divides.
struct Reciprocals {
  std::array<int, 256> saturation{}, hue{};
  Reciprocals() {
    for (std::size_t i = 1; i < 256; ++i) {
      const auto v = static_cast<double>(i);
      saturation[i] = static_cast<int>(std::lrint((255 << 12) / v));
      hue[i] = static_cast<int>(std::lrint((180 << 12) / (6 * v)));
    }
  }
};
const Reciprocals kReciprocals;

// Pixels in flight: few enough for the first-level cache, one plane a channel for the vector units.
constexpr std::size_t kBlock = 256;
using Plane = std::array<int, kBlock>;

// Hue, saturation and value in place of red, green and blue, as OpenCV's COLOR_RGB2HSV: hue in
// 0..179, saturation and value in 0..255.
void planes_to_hsv(int* red, int* green, int* blue, const int* saturation, const int* hue) {
#pragma omp simd
  for (std::size_t i = 0; i < kBlock; ++i) {
    const int r = red[i], g = green[i], b = blue[i];
    const int low_rg = r < g ? r : g, high_rg = r < g ? g : r;
    const int v = high_rg < b ? b : high_rg, diff = v - (low_rg < b ? low_rg : b);
    const int from_green = b - r + 2 * diff, from_blue = r - g + 4 * diff;
    int h = v == r ? g - b : v == g ? from_green : from_blue;
    h = (h * hue[diff] + (1 << 11)) >> 12;
    red[i] = h < 0 ? h + 180 : h;
    green[i] = (diff * saturation[v] + (1 << 11)) >> 12;
    blue[i] = v;
  }
}

// To nearest, ties to even, of a value from 0 to 2^22: what lrint does, in lanes.
inline int round_even(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the sum has no fraction bits left
  return static_cast<int>((v + kMagic) - kMagic);
}

// The inverse.
void planes_to_rgb(int* hue, int* saturation, int* value) {
#pragma omp simd
  for (std::size_t i = 0; i < kBlock; ++i) {
    const float sixth = static_cast<float>(hue[i]) * (6.0f / 180.0f);
    const float s = static_cast<float>(saturation[i]) / 255.0f, v = static_cast<float>(value[i]);
    const int sector = static_cast<int>(sixth);
    const float f = sixth - static_cast<float>(sector);
    const int top = value[i], low = round_even(v * (1 - s));
    const int falling = round_even(v * (1 - s * f)), rising = round_even(v * (1 - s * (1 - f)));
    hue[i] = sector == 0 || sector == 5 ? top : sector == 1 ? falling : sector == 4 ? rising : low;
    saturation[i] = sector == 0                  ? rising
                    : sector == 1 || sector == 2 ? top
                    : sector == 3                ? falling
                                                 : low;
    value[i] = sector == 2                  ? rising
               : sector == 3 || sector == 4 ? top
               : sector == 5                ? falling
                                            : low;
  }
}

// Maps one channel of HSV by a table.
void map_hsv(Image& image, std::size_t channel, const std::array<std::uint8_t, 256>& table) {
  const std::size_t n = image.pixels.size() / 3;
  std::array<Plane, 3> planes;
  for (std::size_t begin = 0; begin < n; begin += kBlock) {
    const std::size_t count = std::min(kBlock, n - begin);
    std::uint8_t* p = image.pixels.data() + 3 * begin;
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t c = 0; c < 3; ++c) planes[c][i] = p[3 * i + c];
    for (Plane& plane : planes) std::fill(plane.begin() + static_cast<long>(count), plane.end(), 0);
    planes_to_hsv(planes[0].data(), planes[1].data(), planes[2].data(),
                  kReciprocals.saturation.data(), kReciprocals.hue.data());
    for (int& v : planes[channel]) v = table[static_cast<std::size_t>(v)];
    planes_to_rgb(planes[0].data(), planes[1].data(), planes[2].data());
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t c = 0; c < 3; ++c) p[3 * i + c] = static_cast<std::uint8_t>(planes[c][i]);
  }
}

}  // namespace

void Photometric::apply(Image& image, RandomStream& random) const {
  if (!enabled) return;
  const auto change_contrast = [&] {
    if (random.chance(p)) map_values(image.pixels, random.uniform(contrast_min, contrast_max), 0);
  };
  if (random.chance(p)) map_values(image.pixels, 1, random.uniform(-brightness, brightness));
  const bool contrast_first = random.chance(0.5);
  if (contrast_first) change_contrast();
  std::array<std::uint8_t, 256> table{};
  if (random.chance(p)) {
    std::iota(table.begin(), table.end(), std::uint8_t{0});
    map_values(table, random.uniform(saturation_min, saturation_max), 0);
    map_hsv(image, 1, table);
  }
  if (random.chance(p) && hue > 0) {
    const int shift = static_cast<int>(random.below(2 * static_cast<std::uint64_t>(hue))) - hue;
    for (int h = 0; h < 180; ++h)
      table[static_cast<std::size_t>(h)] = static_cast<std::uint8_t>((h + shift + 180) % 180);
    map_hsv(image, 0, table);
  }
  if (!contrast_first) change_contrast();
}

}  // namespace nextgrad
