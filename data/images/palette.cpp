#include "data/images/palette.h"

#include <algorithm>
#include <cmath>

#include "tensor/error.h"

namespace nextgrad {
namespace {

using Lab = std::array<double, 3>;

// sRGB to OKLab (Ottosson, "A perceptual color space for image processing", 2020).
Lab oklab(const Color& color) {
  std::array<double, 3> rgb{};
  for (std::size_t c = 0; c < 3; ++c) {
    const double v = color[c] / 255.0;
    rgb[c] = v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
  }
  const auto& [r, g, b] = rgb;
  const double l = std::cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const double m = std::cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const double s = std::cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return {0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
          1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
          0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

double squared_distance(const Lab& a, const Lab& b) {
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

}  // namespace

Palette make_palette(int classes) {
  check(classes >= 1 && classes <= 256, "make_palette: {} classes, want 1..256", classes);
  constexpr int kLevels[] = {0, 32, 64, 96, 128, 160, 192, 224, 255};
  Palette candidates;
  for (const int r : kLevels)
    for (const int g : kLevels)
      for (const int b : kLevels)
        candidates.push_back({static_cast<std::uint8_t>(r), static_cast<std::uint8_t>(g),
                              static_cast<std::uint8_t>(b)});
  // Black stands for ignored pixels and white for paper: classes keep away from both.
  std::vector<double> nearest;
  for (const Color& c : candidates)
    nearest.push_back(std::min(squared_distance(oklab(c), oklab({0, 0, 0})),
                               squared_distance(oklab(c), oklab({255, 255, 255}))));
  Palette palette{{32, 96, 192}};
  for (;;) {
    for (std::size_t i = 0; i < candidates.size(); ++i)
      nearest[i] =
          std::min(nearest[i], squared_distance(oklab(candidates[i]), oklab(palette.back())));
    if (palette.size() == static_cast<std::size_t>(classes)) return palette;
    const auto best = std::max_element(nearest.begin(), nearest.end()) - nearest.begin();
    palette.push_back(candidates[static_cast<std::size_t>(best)]);
  }
}

Image colorize(const LabelMap& label, const Palette& palette) {
  Image image{label.height, label.width, {}};
  image.pixels.reserve(label.values.size() * 3);
  for (const std::uint8_t value : label.values) {
    const Color color = value < palette.size() ? palette[value] : Color{0, 0, 0};
    image.pixels.insert(image.pixels.end(), color.begin(), color.end());
  }
  return image;
}

Image overlay(const Image& image, const LabelMap& label, const Palette& palette, double alpha) {
  check(image.height == label.height && image.width == label.width,
        "overlay: image of {} x {}, labels of {} x {}", image.width, image.height, label.width,
        label.height);
  check(alpha >= 0 && alpha <= 1, "overlay: alpha {}, want 0..1", alpha);
  std::array<double, 256> share{};  // of a pixel's old value, and what rounds it to nearest
  for (std::size_t v = 0; v < share.size(); ++v)
    share[v] = (1 - alpha) * static_cast<double>(v) + 0.5;
  Image out = image;
  std::uint8_t* pixel = out.pixels.data();
  for (std::size_t i = 0; i < label.values.size(); ++i, pixel += 3) {
    if (label.values[i] >= palette.size()) continue;
    const Color& color = palette[label.values[i]];
    for (std::size_t c = 0; c < 3; ++c)
      pixel[c] = static_cast<std::uint8_t>(share[pixel[c]] + alpha * color[c]);
  }
  return out;
}

}  // namespace nextgrad
