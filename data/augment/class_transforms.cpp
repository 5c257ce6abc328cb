#include "data/augment/class_transforms.h"

#include <algorithm>
#include <cmath>

#include "data/augment/random_use.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// torchvision's ColorJitter without hue.
void jitter_colors(Image& image, double jitter, RandomStream& random) {
  int order[] = {0, 1, 2};
  for (std::size_t i = 3; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  for (const int what : order) {
    const double factor = random.uniform(std::max(0.0, 1 - jitter), 1 + jitter);
    if (what == 0) adjust_brightness(image, factor);
    if (what == 1) adjust_contrast(image, factor);
    if (what == 2) adjust_color(image, factor);
  }
}

// Height and width of a rectangle of that area and ratio (height to width, say).
std::pair<std::int64_t, std::int64_t> sides(double area, double ratio) {
  return {std::llround(std::sqrt(area * ratio)), std::llround(std::sqrt(area / ratio))};
}

double log_uniform(double low, double high, RandomStream& random) {
  return std::exp(random.uniform(std::log(low), std::log(high)));
}

}  // namespace

Rectangle draw_part(std::int64_t height, std::int64_t width, double scale_min, double scale_max,
                    RandomStream& random) {
  constexpr double kNarrow = 3.0 / 4, kWide = 4.0 / 3;
  const double area = static_cast<double>(height) * static_cast<double>(width);
  for (int tries = 0; tries < 10; ++tries) {
    const double share = random.uniform(scale_min, scale_max);
    const auto [w, h] = sides(area * share, log_uniform(kNarrow, kWide, random));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const std::int64_t top = below(height - h + 1, random);
    return {top, below(width - w + 1, random), h, w};
  }
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  const std::int64_t w = ratio > kWide ? std::llround(static_cast<double>(height) * kWide) : width;
  const std::int64_t h =
      ratio < kNarrow ? std::llround(static_cast<double>(width) / kNarrow) : height;
  return {(height - h) / 2, (width - w) / 2, h, w};
}

void RandomErasing::apply(std::span<float> pixels, std::int64_t height, std::int64_t width,
                          RandomStream& random) const {
  if (!random.chance(p)) return;
  const double area = static_cast<double>(height) * static_cast<double>(width);
  for (int tries = 0; tries < 10; ++tries) {
    const double share = random.uniform(area_min, area_max);
    const auto [h, w] = sides(area * share, log_uniform(ratio_min, 1 / ratio_min, random));
    if (h >= height || w >= width) continue;
    const std::int64_t top = below(height - h + 1, random), left = below(width - w + 1, random);
    for (std::int64_t y = top; y < top + h; ++y)
      for (std::int64_t i = 3 * left; i < 3 * (left + w); ++i)
        pixels[static_cast<std::size_t>(3 * y * width + i)] = static_cast<float>(random.normal());
    return;
  }
}

void ClassTransform::validate() const {
  check(size > 0 && size < 65536, "pictures of {} pixels a side", size);
  check(scale_min > 0 && scale_min <= scale_max && scale_max <= 1, "crop of a share {} to {}",
        scale_min, scale_max);
  check(flip >= 0 && flip <= 1 && jitter >= 0 && erasing.p >= 0 && erasing.p <= 1,
        "flip {}, jitter {}, erasing {}", flip, jitter, erasing.p);
}

void ClassTransform::apply(const Image& image, const RandomKey& key, std::span<float> out) const {
  check_pixels(image);
  RandomStream random(key);
  const Rectangle part = draw_part(image.height, image.width, scale_min, scale_max, random);
  Image crop = resample(image, part, size, size, filter, random.chance(flip));
  rand_augment.apply(crop, random);
  if (jitter > 0) jitter_colors(crop, jitter, random);
  write_normalized(crop, normalize, out);
  erasing.apply(out, size, size, random);
}

Image ClassEvalTransform::crop(const Image& image) const {
  check_pixels(image);
  check(share > 0 && share <= 1, "evaluation: crop share {}", share);
  const auto target = static_cast<std::int64_t>(static_cast<double>(size) / share);
  const auto [w, h] = std::pair(image.width, image.height);
  const bool tall = h > w;
  const std::int64_t height = tall ? target * h / w : target;
  const std::int64_t width = tall ? target : target * w / h;
  const Image sized = resample(image, {0, 0, h, w}, height, width, filter);
  // Half to even, as Python's round().
  const auto middle = [&](std::int64_t n) {
    return std::llrint(static_cast<double>(n - size) / 2);
  };
  return resample(sized, {middle(height), middle(width), size, size}, size, size, filter);
}

}  // namespace nextgrad
