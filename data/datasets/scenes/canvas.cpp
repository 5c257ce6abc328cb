#include "data/datasets/scenes/canvas.h"

namespace nextgrad {

Noise::Noise(RandomStream& random) : grid_(kSide * kSide) {
  for (float& v : grid_) v = static_cast<float>(random.next() >> 8) * 0x1p-23f - 1;
}

float Noise::operator()(double x, double y) const {
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

Image Canvas::picture(RandomStream& random, float light, Rgb tint, float noise) const {
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

}  // namespace nextgrad
