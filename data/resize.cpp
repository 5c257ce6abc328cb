#include "data/resize.h"

#include <algorithm>
#include <cmath>

#include "tensor/error.h"

namespace nextgrad {
namespace {

// Where an output position of one axis takes its values from: (1 - t) in[low] + t in[high].
struct Tap {
  std::int64_t low, high;
  float t;
};

std::vector<Tap> taps(std::int64_t in, std::int64_t full, std::int64_t begin, std::int64_t n) {
  std::vector<Tap> result;
  const double scale = static_cast<double>(in) / static_cast<double>(full);
  for (std::int64_t i = begin; i < begin + n; ++i) {
    const double at =
        std::clamp((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0, static_cast<double>(in - 1));
    const auto low = static_cast<std::int64_t>(at);
    result.push_back(
        {low, std::min(low + 1, in - 1), static_cast<float>(at - static_cast<double>(low))});
  }
  return result;
}

void check_window(const char* what, std::int64_t height, std::int64_t width, const WindowOf& w) {
  check(height > 0 && width > 0 && w.top >= 0 && w.left >= 0 && w.height > 0 && w.width > 0 &&
            w.top + w.height <= w.full_h && w.left + w.width <= w.full_w,
        "{}: window {}x{}+{}+{} of {} x {} pixels, from {} x {}", what, w.width, w.height, w.left,
        w.top, w.full_w, w.full_h, width, height);
}

// One source row, resized along its width, [n,3].
void resize_row(const std::uint8_t* row, const std::vector<Tap>& columns, float* out) {
  for (const Tap& tap : columns) {
    const std::uint8_t *a = row + tap.low * 3, *b = row + tap.high * 3;
    for (int c = 0; c < 3; ++c) {
      const float low = a[c], high = b[c];
      *out++ = low + tap.t * (high - low);
    }
  }
}

}  // namespace

Image resize_bilinear(const Image& image, const WindowOf& w) {
  check_window("resize_bilinear", image.height, image.width, w);
  const std::vector<Tap> columns = taps(image.width, w.full_w, w.left, w.width);
  const std::vector<Tap> rows = taps(image.height, w.full_h, w.top, w.height);
  const auto n = static_cast<std::size_t>(w.width * 3);
  Image out{w.height, w.width, std::vector<std::uint8_t>(n * static_cast<std::size_t>(w.height))};
  // Two source rows, each resized once however many output rows it serves.
  std::vector<float> low(n), high(n);
  std::int64_t have_low = -1, have_high = -1;
  const auto source = [&](std::int64_t y) { return image.pixels.data() + y * image.width * 3; };
  std::uint8_t* to = out.pixels.data();
  for (const Tap& row : rows) {
    if (row.low != have_low) {
      if (row.low == have_high)
        std::swap(low, high), std::swap(have_low, have_high);
      else
        resize_row(source(have_low = row.low), columns, low.data());
    }
    if (row.high != have_high) resize_row(source(have_high = row.high), columns, high.data());
    for (std::size_t i = 0; i < n; ++i)
      *to++ = static_cast<std::uint8_t>(low[i] + row.t * (high[i] - low[i]) + 0.5f);
  }
  return out;
}

Image resize_bilinear(const Image& image, std::int64_t height, std::int64_t width) {
  if (height == image.height && width == image.width) return image;
  return resize_bilinear(image, {height, width, 0, 0, height, width});
}

LabelMap resize_nearest(const LabelMap& label, const WindowOf& w) {
  check_window("resize_nearest", label.height, label.width, w);
  const auto source = [](std::int64_t in, std::int64_t full, std::int64_t i) {
    const double scale = static_cast<double>(in) / static_cast<double>(full);
    return std::min(static_cast<std::int64_t>(static_cast<double>(i) * scale), in - 1);
  };
  std::vector<std::int64_t> columns;
  for (std::int64_t x = 0; x < w.width; ++x)
    columns.push_back(source(label.width, w.full_w, w.left + x));
  LabelMap out{w.height, w.width, {}};
  out.values.reserve(static_cast<std::size_t>(w.height * w.width));
  for (std::int64_t y = 0; y < w.height; ++y) {
    const auto* row = label.values.data() + source(label.height, w.full_h, w.top + y) * label.width;
    for (const std::int64_t x : columns) out.values.push_back(row[x]);
  }
  return out;
}

LabelMap resize_nearest(const LabelMap& label, std::int64_t height, std::int64_t width) {
  if (height == label.height && width == label.width) return label;
  return resize_nearest(label, {height, width, 0, 0, height, width});
}

std::pair<std::int64_t, std::int64_t> rescale_size(std::int64_t height, std::int64_t width,
                                                   double short_side, double long_side) {
  const auto h = static_cast<double>(height), w = static_cast<double>(width);
  const double scale = std::min(long_side / std::max(h, w), short_side / std::min(h, w));
  const auto scaled = [&](double n) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(n * scale + 0.5));
  };
  return {scaled(h), scaled(w)};
}

}  // namespace nextgrad
