#include "data/augment/transforms.h"

#include <algorithm>
#include <cmath>

#include "data/augment/random_use.h"
#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// Whether one class fills `most` or more of the labelled pixels, or there is only one.
bool one_class_rules(const LabelMap& label, double most) {
  std::array<std::int64_t, 256> counts{};
  for (const std::uint8_t value : label.values) ++counts[value];
  counts[kIgnoreLabel] = 0;
  std::int64_t sum = 0, largest = 0, present = 0;
  for (const std::int64_t c : counts) {
    sum += c;
    largest = std::max(largest, c);
    present += c > 0;
  }
  return present < 2 || static_cast<double>(largest) >= most * static_cast<double>(sum);
}

// Normalises rows of so many pixels; the numbers of the channels stand as often as a row has them,
// for the vector units.
class RowNormalizer {
 public:
  RowNormalizer(const Normalize& n, std::int64_t pixels)
      : means_(static_cast<std::size_t>(3 * pixels)), deviations_(means_.size()) {
    for (std::size_t i = 0; i < means_.size(); ++i) {
      means_[i] = n.mean[i % 3];
      deviations_[i] = n.deviation[i % 3];
    }
  }
  void operator()(const std::uint8_t* pixels, float* out) const {
    const float *mean = means_.data(), *deviation = deviations_.data();
#pragma omp simd
    for (std::size_t i = 0; i < means_.size(); ++i)
      out[i] = (static_cast<float>(pixels[i]) - mean[i]) / deviation[i];
  }

 private:
  std::vector<float> means_, deviations_;
};

// `mmcv`'s sizes of a scaled test are whole numbers.
double scaled(std::int64_t side, double scale) {
  return std::floor(static_cast<double>(side) * scale);
}

// Height and width before the rounding up to multiples.
std::pair<std::int64_t, std::int64_t> base_size(const EvalTransform& t, std::int64_t h,
                                                std::int64_t w, double scale) {
  if (t.height > 0 && t.width > 0)
    return {static_cast<std::int64_t>(scaled(t.height, scale)),
            static_cast<std::int64_t>(scaled(t.width, scale))};
  if (t.base_short > 0 && t.base_long > 0)
    return rescale_size(h, w, scaled(t.base_short, scale), scaled(t.base_long, scale));
  if (scale == 1) return {h, w};
  return rescale_size(h, w, scaled(std::min(h, w), scale), scaled(std::max(h, w), scale));
}

}  // namespace

void check_pixels(const Image& image) {
  check(image.height > 0 && image.width > 0 &&
            image.pixels.size() == static_cast<std::size_t>(image.height * image.width * 3),
        "transform: {} bytes for {} x {} RGB pixels", image.pixels.size(), image.width,
        image.height);
}

void write_normalized(const Image& image, const Normalize& n, std::span<float> out) {
  check(out.size() == image.pixels.size(), "transform: room for {} numbers, wants {}", out.size(),
        image.pixels.size());
  const RowNormalizer normalize_row(n, image.width);
  for (std::size_t at = 0; at < out.size(); at += static_cast<std::size_t>(3 * image.width))
    normalize_row(image.pixels.data() + at, out.data() + at);
}

void TrainTransform::validate() const {
  check(crop_h > 0 && crop_w > 0 && crop_h < 65536 && crop_w < 65536, "crop of {} x {} pixels",
        crop_w, crop_h);
  check(scale_min > 0 && scale_min <= scale_max && scale_max <= 64, "random scale {} to {}",
        scale_min, scale_max);
  check(base_short >= 0 && base_long >= 0 && (base_short > 0) == (base_long > 0),
        "base size: short side {}, long side {}; give both or none", base_short, base_long);
  check(flip >= 0 && flip <= 1 && cat_max_ratio > 0, "flip {}, cat_max_ratio {}", flip,
        cat_max_ratio);
  for (const float d : normalize.deviation) check(d > 0, "deviation {} is not positive", d);
}

TrainTransform::Crop TrainTransform::draw(const LabelMap& label, RandomStream& random) const {
  const double ratio = random.uniform(scale_min, scale_max);
  const auto short_side = base_short > 0 ? base_short : std::min(label.height, label.width);
  const auto long_side = base_long > 0 ? base_long : std::max(label.height, label.width);
  const auto [full_h, full_w] =
      rescale_size(label.height, label.width, static_cast<double>(short_side) * ratio,
                   static_cast<double>(long_side) * ratio);
  Crop crop{{full_h, full_w, 0, 0, std::min(crop_h, full_h), std::min(crop_w, full_w)}, {}};
  WindowOf& w = crop.window;
  for (int tries = 0; tries <= 10; ++tries) {
    w.top = below(full_h - w.height + 1, random);
    w.left = below(full_w - w.width + 1, random);
    crop.label = resize_nearest(label, w);
    if (cat_max_ratio >= 1 || !one_class_rules(crop.label, cat_max_ratio)) break;
  }
  if (random.chance(flip)) {
    w.mirrored = true;
    crop.label = resize_nearest(label, w);
  }
  return crop;
}

int TrainTransform::reduction(const WindowOf& w, std::int64_t height, std::int64_t width) const {
  for (const int by : {8, 4, 2})
    if (w.full_h <= (height + by - 1) / by && w.full_w <= (width + by - 1) / by) return by;
  return 1;
}

void TrainTransform::write(const Image& crop, const LabelMap& label, std::span<float> out_image,
                           std::span<std::int32_t> out_label) const {
  const RowNormalizer normalize_row(normalize, crop.width);
  std::fill(out_label.begin(), out_label.end(), kIgnoreLabel);
  for (std::int64_t y = 0; y < crop_h; ++y) {
    float* const to = out_image.data() + 3 * y * crop_w;
    const std::int64_t width = y < crop.height ? crop.width : 0;  // of the rest nothing is there
    if (width > 0) normalize_row(crop.pixels.data() + 3 * y * width, to);
    std::copy_n(label.values.data() + y * width, width, out_label.data() + y * crop_w);
    std::fill(to + 3 * width, to + 3 * crop_w, 0.0f);
  }
}

void TrainTransform::apply(const LabelMap& label, const LoadPart& load, const RandomKey& key,
                           std::span<float> out_image, std::span<std::int32_t> out_label) const {
  const auto n = static_cast<std::size_t>(crop_h * crop_w);
  check(out_image.size() == 3 * n && out_label.size() == n, "transform: room for {} and {} numbers",
        out_image.size(), out_label.size());
  RandomStream random(key);
  // The labels decide where to crop; only that window of the picture is then computed.
  const Crop crop = draw(label, random);
  const int by = reduced_decoding ? reduction(crop.window, label.height, label.width) : 1;
  const std::int64_t h = (label.height + by - 1) / by, w = (label.width + by - 1) / by;
  Image picture = resize_bilinear(load(source_of(crop.window, h, w), by), crop.window);
  photometric.apply(picture, random);
  write(picture, crop.label, out_image, out_label);
}

void TrainTransform::apply(Image image, const LabelMap& label, const RandomKey& key,
                           std::span<float> out_image, std::span<std::int32_t> out_label) const {
  check_pixels(image);
  check(image.height == label.height && image.width == label.width &&
            label.values.size() * 3 == image.pixels.size(),
        "transform: image of {} x {} pixels, labels of {} x {}", image.width, image.height,
        label.width, label.height);
  const auto whole = [&](const Rectangle&, int) { return codecs::whole_part(std::move(image)); };
  apply(label, whole, key, out_image, out_label);
}

std::pair<std::int64_t, std::int64_t> EvalTransform::size_for(std::int64_t h, std::int64_t w,
                                                              double scale) const {
  check(multiple >= 1 && scale > 0, "evaluation size: multiple of {}, scale {}", multiple, scale);
  std::tie(h, w) = base_size(*this, h, w, scale);
  if (height > 0 && width > 0 && scale == 1) return {h, w};
  const auto up = [&](std::int64_t n) {
    return (std::max(n, least) + multiple - 1) / multiple * multiple;
  };
  return {up(h), up(w)};
}

Image EvalTransform::resize(const Image& image, double scale) const {
  check_pixels(image);
  const auto [h, w] = size_for(image.height, image.width, scale);
  const auto [base_h, base_w] = base_size(*this, image.height, image.width, scale);
  const bool own = base_h == image.height && base_w == image.width;
  if (own || (base_h == h && base_w == w)) return resize_bilinear(image, h, w);
  // The published pipeline resizes twice: to the base size, then to the multiple.
  return resize_bilinear(resize_bilinear(image, base_h, base_w), h, w);
}

Tensor EvalTransform::normalized(const Image& image, std::span<const Rectangle> windows,
                                 bool flipped) const {
  check_pixels(image);
  check(!windows.empty(), "normalized: no window");
  const std::int64_t h = windows.front().height, w = windows.front().width;
  const auto row = static_cast<std::size_t>(3 * w);
  const RowNormalizer normalize_row(normalize, w);
  std::vector<float> values(windows.size() * row * static_cast<std::size_t>(h));
  float* to = values.data();
  std::vector<std::uint8_t> mirror(row);
  for (const Rectangle& r : windows) {
    check(r.height == h && r.width == w && r.top >= 0 && r.left >= 0 && r.top + h <= image.height &&
              r.left + w <= image.width,
          "normalized: a window of {} x {} at ({}, {}) of {} x {} pixels", r.width, r.height,
          r.left, r.top, image.width, image.height);
    for (std::int64_t y = 0; y < h; ++y, to += row) {
      const std::uint8_t* from = image.pixels.data() + 3 * ((r.top + y) * image.width + r.left);
      if (flipped) {
        for (std::size_t i = 0; i < row; ++i) mirror[i] = from[row - 3 - i + 2 * (i % 3)];
        from = mirror.data();
      }
      normalize_row(from, to);
    }
  }
  return Tensor::from(values, {static_cast<std::int64_t>(windows.size()), h, w, 3});
}

}  // namespace nextgrad
