// What draws the embedded scenes: shapes painted back to front into a picture (anti-aliased) and
// its label map (crisp).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "data/images/image.h"
#include "tensor/random.h"

namespace nextgrad {

struct Rgb {  // 0..1
  float r = 0, g = 0, b = 0;
  Rgb operator*(float f) const { return {r * f, g * f, b * f}; }
  Rgb operator+(Rgb o) const { return {r + o.r, g + o.g, b + o.b}; }
};
inline Rgb mix(Rgb a, Rgb b, float t) {
  return a * (1 - t) + b * t;
}

struct Box {  // in pixels; may reach past the canvas
  double left, top, right, bottom;
  bool contains(double x, double y) const { return x > left && x < right && y > top && y < bottom; }
};

// Smooth random function of the plane in [-1, 1]: bilinear between random numbers on a grid of
// step 1, repeating every 64.
class Noise {
 public:
  explicit Noise(RandomStream& random) : grid_(kSide * kSide) {
    for (float& v : grid_) v = static_cast<float>(random.next() >> 8) * 0x1p-23f - 1;
  }

  float operator()(double x, double y) const {
    const double fx = std::floor(x), fy = std::floor(y);
    const auto tx = static_cast<float>(x - fx), ty = static_cast<float>(y - fy);
    const auto at = [&](std::int64_t i, std::int64_t j) {
      return grid_[static_cast<std::size_t>((j & (kSide - 1)) * kSide + (i & (kSide - 1)))];
    };
    const auto i = static_cast<std::int64_t>(fx), j = static_cast<std::int64_t>(fy);
    const float top = at(i, j) + tx * (at(i + 1, j) - at(i, j));
    const float bottom = at(i, j + 1) + tx * (at(i + 1, j + 1) - at(i, j + 1));
    return top + ty * (bottom - top);
  }

 private:
  static constexpr int kSide = 64;
  std::vector<float> grid_;
};

class Canvas {
 public:
  Canvas(std::int64_t height, std::int64_t width)
      : height_(height),
        width_(width),
        colors_(static_cast<std::size_t>(height * width)),
        labels_(colors_.size()) {}

  // Paints the pixels of `box` for which inside(x, y) holds with color(x, y), positions in pixels:
  // each by the share of its 3 x 3 sub-samples that is inside; the label goes by the centre.
  template <class Inside, class Color>
  void paint(const Box& box, std::uint8_t label, const Inside& inside, const Color& color) {
    paint(box, label, inside, inside, color);
  }
  // All of the box.
  template <class Color>
  void paint(const Box& box, std::uint8_t label, const Color& color) {
    paint(
        box, label, [&](double x, double y) { return box.contains(x, y); }, color);
  }
  // The same with labels that follow another shape than the paint does.
  template <class Inside, class Labelled, class Color>
  void paint(const Box& box, std::uint8_t label, const Inside& inside, const Labelled& labelled,
             const Color& color) {
    const std::int64_t x0 = first(box.left), x1 = last(box.right, width_);
    const std::int64_t y0 = first(box.top), y1 = last(box.bottom, height_);
    for (std::int64_t y = y0; y < y1; ++y)
      for (std::int64_t x = x0; x < x1; ++x) {
        const double cx = static_cast<double>(x) + 0.5, cy = static_cast<double>(y) + 0.5;
        int covered = 0;
        for (int s = 0; s < 9; ++s)
          covered += inside(cx + (s % 3 - 1) / 3.0, cy + (s / 3 - 1) / 3.0);
        const auto i = static_cast<std::size_t>(y * width_ + x);
        if (covered > 0)
          colors_[i] = mix(colors_[i], color(cx, cy), static_cast<float>(covered) / 9);
        if (labelled(cx, cy)) labels_[i] = label;
      }
  }

  // The light of the whole picture: colours times `light` (and `tint` per channel), plus noise of
  // about that deviation.
  Image picture(RandomStream& random, float light, Rgb tint, float noise) const {
    Image image{height_, width_, {}};
    image.pixels.reserve(colors_.size() * 3);
    for (const Rgb& color : colors_) {
      // Two of the four bytes added per channel: a triangle of deviation 0.41 on [-1, 1].
      const std::uint32_t bits = random.next(), more = random.next();
      const float tinted[3] = {color.r * tint.r, color.g * tint.g, color.b * tint.b};
      for (int c = 0; c < 3; ++c) {
        const auto byte = [&](std::uint32_t from) {
          return static_cast<float>(from >> (8 * c) & 255u) / 255.0f;
        };
        const float grain = noise * 2.4f * (byte(bits) + byte(more) - 1);
        const float value = std::clamp(tinted[c] * light + grain, 0.0f, 1.0f);
        image.pixels.push_back(static_cast<std::uint8_t>(value * 255 + 0.5f));
      }
    }
    return image;
  }
  LabelMap labels() const { return {height_, width_, labels_}; }

 private:
  static std::int64_t first(double at) {
    return std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(at)) - 1);
  }
  static std::int64_t last(double at, std::int64_t n) {
    return std::min(n, static_cast<std::int64_t>(std::ceil(at)) + 1);
  }
  std::int64_t height_, width_;
  std::vector<Rgb> colors_;
  std::vector<std::uint8_t> labels_;
};

}  // namespace nextgrad
