#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/augment/transforms.h"
#include "data/images/hsv.h"

namespace nextgrad {
namespace {

// What MMSegmentation's `convert` does to an 8-bit value: scale, add, clip, cut the fraction.
void map_values(std::uint8_t* values, std::size_t n, float alpha, float beta) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) {
    float v = static_cast<float>(values[i]) * alpha + beta;
    v = v < 0.0f ? 0.0f : v;
    values[i] = static_cast<std::uint8_t>(static_cast<int>(v > 255.0f ? 255.0f : v));
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

// Hue, saturation and value in place of red, green and blue; rgb_to_hsv in lanes.
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

// The inverse; hsv_to_rgb in lanes.
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
void map_hsv(Image& image, std::size_t channel, const std::array<int, 256>& table) {
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

std::array<std::uint8_t, 3> rgb_to_hsv(Color rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int v = std::max({r, g, b}), diff = v - std::min({r, g, b});
  const auto by_value = static_cast<std::size_t>(v), by_diff = static_cast<std::size_t>(diff);
  const int s = (diff * kReciprocals.saturation[by_value] + (1 << 11)) >> 12;
  int h = v == r ? g - b : v == g ? b - r + 2 * diff : r - g + 4 * diff;
  h = (h * kReciprocals.hue[by_diff] + (1 << 11)) >> 12;
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
  const auto change = [&](double alpha, double beta) {
    map_values(image.pixels.data(), image.pixels.size(), static_cast<float>(alpha),
               static_cast<float>(beta));
  };
  const auto change_contrast = [&] {
    if (random.chance(p)) change(random.uniform(contrast_min, contrast_max), 0);
  };
  if (random.chance(p)) change(1, random.uniform(-brightness, brightness));
  const bool contrast_first = random.chance(0.5);
  if (contrast_first) change_contrast();
  std::array<int, 256> table{};
  if (random.chance(p)) {
    std::array<std::uint8_t, 256> values{};
    std::iota(values.begin(), values.end(), std::uint8_t{0});
    map_values(values.data(), values.size(),
               static_cast<float>(random.uniform(saturation_min, saturation_max)), 0);
    std::copy(values.begin(), values.end(), table.begin());
    map_hsv(image, 1, table);
  }
  if (random.chance(p) && hue > 0) {
    const int shift = static_cast<int>(random.below(2 * static_cast<std::uint64_t>(hue))) - hue;
    for (int h = 0; h < 180; ++h) table[static_cast<std::size_t>(h)] = (h + shift + 180) % 180;
    map_hsv(image, 0, table);
  }
  if (!contrast_first) change_contrast();
}

}  // namespace nextgrad
