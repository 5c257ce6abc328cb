#include "data/images/resize.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tensor/error.h"

namespace nextgrad {
namespace {

// Where an output position of one axis takes its values from: (1 - t) in[low] + t in[high].
struct Tap {
  std::int64_t low, high;
  float t;
};

// Of n positions from `begin` on, among `full`; they count from the input's `origin`.
std::vector<Tap> window_taps(std::int64_t in, std::int64_t full, std::int64_t begin, std::int64_t n,
                             std::int64_t origin) {
  std::vector<Tap> result;
  const double scale = static_cast<double>(in) / static_cast<double>(full);
  for (std::int64_t i = begin; i < begin + n; ++i) {
    const double at =
        std::clamp((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0, static_cast<double>(in - 1));
    const auto low = static_cast<std::int64_t>(at);
    result.push_back({low - origin, std::min(low + 1, in - 1) - origin,
                      static_cast<float>(at - static_cast<double>(low))});
  }
  return result;
}

void check_window(const char* what, std::int64_t height, std::int64_t width, const WindowOf& w) {
  check(height > 0 && width > 0 && w.top >= 0 && w.left >= 0 && w.height > 0 && w.width > 0 &&
            w.top + w.height <= w.full_h && w.left + w.width <= w.full_w,
        "{}: window {}x{}+{}+{} of {} x {} pixels, from {} x {}", what, w.width, w.height, w.left,
        w.top, w.full_w, w.full_h, width, height);
}

// Of the window's columns and rows in a picture of height x width, a part of which begins at
// (top, left).
struct WindowTaps {
  std::vector<Tap> columns, rows;
  WindowTaps(const WindowOf& w, std::int64_t height, std::int64_t width, std::int64_t top = 0,
             std::int64_t left = 0)
      : columns(window_taps(width, w.full_w, w.left, w.width, left)),
        rows(window_taps(height, w.full_h, w.top, w.height, top)) {}
  // The pixels of the part that they read.
  Rectangle source() const {
    return {rows.front().low, columns.front().low, rows.back().high - rows.front().low + 1,
            columns.back().high - columns.front().low + 1};
  }
};

// A pixel's three channels, and what follows them, in the lanes of one vector.
typedef float Lanes __attribute__((vector_size(16)));
typedef std::uint8_t FourBytes __attribute__((vector_size(4)));

inline Lanes load_lanes(const std::uint8_t* p) {
  FourBytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(bytes, Lanes);
}

// One source row of `width` pixels, resized along its width: [n,3] and room for one number more.
// Each pixel is computed in four lanes, the fourth overwritten by the next.
void resize_row(const std::uint8_t* row, std::int64_t width, const std::vector<Tap>& columns,
                float* out) {
  for (const Tap& tap : columns) {
    const std::uint8_t *a = row + tap.low * 3, *b = row + tap.high * 3;
    Lanes low, high;
    if (tap.high + 1 < width) {
      low = load_lanes(a);
      high = load_lanes(b);
    } else {  // there is no fourth byte to read
      low = Lanes{float(a[0]), float(a[1]), float(a[2]), 0};
      high = Lanes{float(b[0]), float(b[1]), float(b[2]), 0};
    }
    const Lanes value = low + tap.t * (high - low);
    std::memcpy(out, &value, sizeof value);
    out += 3;
  }
}

// Blends two resized rows into bytes, to nearest.
void blend_rows(const float* low, const float* high, float t, std::size_t n, std::uint8_t* out) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i)
    out[i] = static_cast<std::uint8_t>(static_cast<int>(low[i] + t * (high[i] - low[i]) + 0.5f));
}

// The taps count from the image's first pixel.
Image resize_by(const Image& image, WindowTaps taps, bool mirrored) {
  if (mirrored) std::reverse(taps.columns.begin(), taps.columns.end());
  const auto height = static_cast<std::int64_t>(taps.rows.size());
  const auto width = static_cast<std::int64_t>(taps.columns.size());
  const auto n = static_cast<std::size_t>(width * 3);
  Image out = plain_image(height, width);
  // Two source rows, each resized once however many output rows it serves.
  std::vector<float> low(n + 1), high(n + 1);
  std::int64_t have_low = -1, have_high = -1;
  const auto make = [&](std::int64_t y, std::vector<float>& row) {
    resize_row(image.pixels.data() + y * image.width * 3, image.width, taps.columns, row.data());
    return y;
  };
  std::uint8_t* to = out.pixels.data();
  for (const Tap& row : taps.rows) {
    if (row.low != have_low) {
      if (row.low == have_high)
        std::swap(low, high), std::swap(have_low, have_high);
      else
        have_low = make(row.low, low);
    }
    if (row.high != have_high) have_high = make(row.high, high);
    blend_rows(low.data(), high.data(), row.t, n, to);
    to += n;
  }
  return out;
}

}  // namespace

Rectangle source_of(const WindowOf& w, std::int64_t height, std::int64_t width) {
  check_window("source_of", height, width, w);
  return WindowTaps(w, height, width).source();
}

Image resize_bilinear(const ImagePart& part, const WindowOf& w) {
  check_window("resize_bilinear", part.height, part.width, w);
  WindowTaps taps(w, part.height, part.width, part.top, part.left);
  const Rectangle s = taps.source();
  check(s.top >= 0 && s.left >= 0 && s.top + s.height <= part.image.height &&
            s.left + s.width <= part.image.width,
        "resize_bilinear: {}x{}+{}+{} of a part of {}x{} are wanted", s.width, s.height, s.left,
        s.top, part.image.width, part.image.height);
  return resize_by(part.image, std::move(taps), w.mirrored);
}

Image resize_bilinear(const Image& image, const WindowOf& w) {
  check_window("resize_bilinear", image.height, image.width, w);
  return resize_by(image, WindowTaps(w, image.height, image.width), w.mirrored);
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
  if (w.mirrored) std::reverse(columns.begin(), columns.end());
  LabelMap out{w.height, w.width,
               std::vector<std::uint8_t>(static_cast<std::size_t>(w.height * w.width))};
  std::uint8_t* to = out.values.data();
  for (std::int64_t y = 0; y < w.height; ++y) {
    const auto* row = label.values.data() + source(label.height, w.full_h, w.top + y) * label.width;
    for (const std::int64_t x : columns) *to++ = row[x];
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
