// RandAugment and the changes of colours that it is made of.
#include <algorithm>

#include "data/augment/class_transforms.h"

namespace nextgrad {
namespace {

using Table = std::array<std::uint8_t, 256>;
using Histogram = std::array<std::int64_t, 256>;

Histogram histogram(const Image& image, std::size_t channel) {
  Histogram counts{};
  for (std::size_t i = channel; i < image.pixels.size(); i += 3) ++counts[image.pixels[i]];
  return counts;
}

template <class Fn>
Table table_of(const Fn& fn) {
  Table table{};
  for (int v = 0; v < 256; ++v)
    table[static_cast<std::size_t>(v)] =
        static_cast<std::uint8_t>(std::clamp<std::int64_t>(fn(v), 0, 255));
  return table;
}

void map_channel(Image& image, std::size_t channel, const Table& table) {
  for (std::size_t i = channel; i < image.pixels.size(); i += 3)
    image.pixels[i] = table[image.pixels[i]];
}

// ITU-R 601 in fixed point, as Image.convert("L").
int luma(const std::uint8_t* p) {
  return (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16;
}

// Image.blend: base + factor (value - base), the fraction cut.
std::uint8_t blend(int base, int value, float factor) {
  const float v = static_cast<float>(base) + factor * static_cast<float>(value - base);
  return static_cast<std::uint8_t>(std::clamp(v, 0.0f, 255.0f));
}

// Each value becomes level(value), at least 0 and at most 255.
template <class Level>
void map_levels(Image& image, const Level& level) {
  const Table table = table_of(level);
  for (std::uint8_t& v : image.pixels) v = table[v];
}

}  // namespace

void autocontrast(Image& image) {
  for (std::size_t c = 0; c < 3; ++c) {
    const Histogram counts = histogram(image, c);
    int low = 0, high = 255;
    while (low < 255 && counts[static_cast<std::size_t>(low)] == 0) ++low;
    while (high > 0 && counts[static_cast<std::size_t>(high)] == 0) --high;
    if (high <= low) continue;
    const double scale = 255.0 / (high - low), offset = -low * scale;
    map_channel(image, c,
                table_of([&](int v) { return static_cast<std::int64_t>(v * scale + offset); }));
  }
}

void equalize(Image& image) {
  for (std::size_t c = 0; c < 3; ++c) {
    const Histogram counts = histogram(image, c);
    std::int64_t sum = 0, last = 0, used = 0;
    for (const std::int64_t n : counts)
      if (n > 0) sum += n, last = n, ++used;
    const std::int64_t step = (sum - last) / 255;
    if (used <= 1 || step == 0) continue;
    std::int64_t n = step / 2;
    map_channel(image, c, table_of([&](int v) {
                  const std::int64_t level = n / step;
                  n += counts[static_cast<std::size_t>(v)];
                  return level;
                }));
  }
}

void adjust_color(Image& image, double factor) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    std::uint8_t* p = image.pixels.data() + i;
    const int grey = luma(p);
    for (int c = 0; c < 3; ++c) p[c] = blend(grey, p[c], static_cast<float>(factor));
  }
}

void adjust_contrast(Image& image, double factor) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) sum += luma(image.pixels.data() + i);
  const double mean = static_cast<double>(sum) / static_cast<double>(image.pixels.size() / 3);
  const int grey = static_cast<int>(mean + 0.5);
  map_levels(image, [&](int v) { return blend(grey, v, static_cast<float>(factor)); });
}

void adjust_brightness(Image& image, double factor) {
  map_levels(image, [&](int v) { return blend(0, v, static_cast<float>(factor)); });
}

void adjust_sharpness(Image& image, double factor) {
  const Image before = image;
  const auto stride = static_cast<std::size_t>(3 * image.width);
  // The outermost pixels have no smoothed value: they stay.
  for (std::int64_t y = 1; y + 1 < image.height; ++y)
    for (std::size_t x = 3; x + 3 < stride; ++x) {
      const std::uint8_t* p = before.pixels.data() + static_cast<std::size_t>(y) * stride + x;
      int sum = 4 * p[0];  // the kernel is 1 all around 5, over 13
      for (const std::uint8_t* row : {p - stride, p, p + stride}) sum += row[-3] + row[0] + row[3];
      const int smooth = static_cast<int>(static_cast<float>(sum) / 13 + 0.5f);
      image.pixels[static_cast<std::size_t>(y) * stride + x] =
          blend(smooth, p[0], static_cast<float>(factor));
    }
}

void apply_augment(Image& image, AugmentOp op, double level, bool negative, Color fill) {
  const double share = level / 10;
  const auto signed_of = [&](double most) { return (negative ? -1 : 1) * share * most; };
  const double factor = std::max(0.1, 1 + signed_of(0.9));
  const auto affine = [&](const std::array<double, 6>& inverse) {
    image = transform_affine(image, inverse, fill);
  };
  switch (op) {
    case AugmentOp::autocontrast:
      return autocontrast(image);
    case AugmentOp::equalize:
      return equalize(image);
    case AugmentOp::invert:
      return map_levels(image, [](int v) { return 255 - v; });
    case AugmentOp::rotate:
      image = rotate(image, signed_of(30), fill);
      return;
    case AugmentOp::posterize:
      return map_levels(image, [&](int v) { return v & -(16 << static_cast<int>(share * 4)); });
    case AugmentOp::solarize:
      return map_levels(
          image, [&](int v) { return v < 256 - static_cast<int>(share * 256) ? v : 255 - v; });
    case AugmentOp::solarize_add:
      return map_levels(image,
                        [&](int v) { return v < 128 ? v + static_cast<int>(share * 110) : v; });
    case AugmentOp::color:
      return adjust_color(image, factor);
    case AugmentOp::contrast:
      return adjust_contrast(image, factor);
    case AugmentOp::brightness:
      return adjust_brightness(image, factor);
    case AugmentOp::sharpness:
      return adjust_sharpness(image, factor);
    case AugmentOp::shear_x:
      return affine({1, signed_of(0.3), 0, 0, 1, 0});
    case AugmentOp::shear_y:
      return affine({1, 0, 0, signed_of(0.3), 1, 0});
    case AugmentOp::translate_x:
      return affine({1, 0, signed_of(0.45) * static_cast<double>(image.width), 0, 1, 0});
    case AugmentOp::translate_y:
      return affine({1, 0, 0, 0, 1, signed_of(0.45) * static_cast<double>(image.height)});
  }
}

void RandAugment::apply(Image& image, RandomStream& random) const {
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const auto op = static_cast<AugmentOp>(random.below(kAugmentOps));
    const bool wanted = random.chance(p);
    const double level = std::clamp(magnitude + deviation * random.normal(), 0.0, 10.0);
    const bool negative = random.chance(0.5);
    if (wanted) apply_augment(image, op, level, negative, fill);
  }
}

}  // namespace nextgrad
