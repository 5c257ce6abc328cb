#include "data/images/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr int kFraction = 22;  // bits of a coefficient behind the point, as in Pillow

double kernel(Filter filter, double x) {
  x = std::abs(x);
  if (filter == Filter::bilinear) return std::max(0.0, 1 - x);
  constexpr double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Which inputs an output position is made of: `count` from `first` on, weights at `at`.
struct Taps {
  struct Span {
    std::int64_t first, count, at;
  };
  std::vector<Span> spans;
  std::vector<std::int32_t> weights;
};

Taps make_taps(std::int64_t in, std::int64_t out, Filter filter) {
  Taps taps;
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = std::max(scale, 1.0);
  const double support = (filter == Filter::bilinear ? 1 : 2) * stretch;
  std::vector<double> weights;
  for (std::int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(centre - support + 0.5));
    const auto end = std::min(in, static_cast<std::int64_t>(centre + support + 0.5));
    weights.clear();
    double sum = 0;
    for (std::int64_t k = first; k < end; ++k) {
      weights.push_back(kernel(filter, (static_cast<double>(k) - centre + 0.5) / stretch));
      sum += weights.back();
    }
    taps.spans.push_back({first, end - first, static_cast<std::int64_t>(taps.weights.size())});
    for (const double w : weights) {
      const double fixed = w / sum * (1 << kFraction);
      taps.weights.push_back(static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return taps;
}

std::uint8_t clip(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kFraction, 0, 255));
}

void resample_row(const std::uint8_t* row, const Taps& taps, std::uint8_t* out) {
  for (const Taps::Span& span : taps.spans) {
    std::int32_t r = 1 << (kFraction - 1), g = r, b = r;
    const std::uint8_t* p = row + 3 * span.first;
    const std::int32_t* w = taps.weights.data() + span.at;
    for (std::int64_t k = 0; k < span.count; ++k, p += 3) {
      r += p[0] * w[k];
      g += p[1] * w[k];
      b += p[2] * w[k];
    }
    *out++ = clip(r);
    *out++ = clip(g);
    *out++ = clip(b);
  }
}

// Through v[1] at 0 and v[2] at 1.
double cubic(const double* v, double t) {
  const double p2 = v[2] - v[0], p3 = 2 * (v[0] - v[1]) + v[2] - v[3];
  const double p4 = -v[0] + v[1] - v[2] + v[3];
  return v[1] + t * (p2 + t * (p3 + t * p4));
}

Color sample_bicubic(const Image& image, double x, double y) {
  x -= 0.5;
  y -= 0.5;
  const double fx = std::floor(x), fy = std::floor(y);
  const auto tap = [](double floor, int k, std::int64_t n) {
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(floor) + k - 1, 0, n - 1);
  };
  Color color{};
  for (std::int64_t c = 0; c < 3; ++c) {
    double rows[4];
    for (int j = 0; j < 4; ++j) {
      const std::uint8_t* row =
          image.pixels.data() + 3 * tap(fy, j, image.height) * image.width + c;
      double values[4];
      for (int i = 0; i < 4; ++i) values[i] = row[3 * tap(fx, i, image.width)];
      rows[j] = cubic(values, x - fx);
    }
    const double value = std::clamp(cubic(rows, y - fy), 0.0, 255.0);
    color[static_cast<std::size_t>(c)] = static_cast<std::uint8_t>(value);
  }
  return color;
}

}  // namespace

Image resample(const Image& image, const Rectangle& part, std::int64_t height, std::int64_t width,
               Filter filter, bool mirrored) {
  check(part.top >= 0 && part.left >= 0 && part.height > 0 && part.width > 0 &&
            part.top + part.height <= image.height && part.left + part.width <= image.width &&
            height > 0 && width > 0,
        "resample: {}x{}+{}+{} of {} x {} pixels to {} x {}", part.width, part.height, part.left,
        part.top, image.width, image.height, width, height);
  Taps columns = make_taps(part.width, width, filter);
  if (mirrored) std::reverse(columns.spans.begin(), columns.spans.end());
  const Taps rows = make_taps(part.height, height, filter);
  const auto n = static_cast<std::size_t>(3 * width);
  std::vector<std::uint8_t> narrow(n * static_cast<std::size_t>(part.height));
  for (std::int64_t y = 0; y < part.height; ++y)
    resample_row(image.pixels.data() + 3 * ((part.top + y) * image.width + part.left), columns,
                 narrow.data() + static_cast<std::size_t>(y) * n);
  Image out = plain_image(height, width);
  std::vector<std::int32_t> sums(n);
  for (std::int64_t y = 0; y < height; ++y) {
    const Taps::Span& span = rows.spans[static_cast<std::size_t>(y)];
    std::fill(sums.begin(), sums.end(), 1 << (kFraction - 1));
    for (std::int64_t k = 0; k < span.count; ++k) {
      const std::uint8_t* row = narrow.data() + static_cast<std::size_t>(span.first + k) * n;
      const std::int32_t weight = rows.weights[static_cast<std::size_t>(span.at + k)];
      for (std::size_t i = 0; i < n; ++i) sums[i] += row[i] * weight;
    }
    std::transform(sums.begin(), sums.end(), out.pixels.begin() + y * static_cast<std::int64_t>(n),
                   clip);
  }
  return out;
}

Image transform_affine(const Image& image, const std::array<double, 6>& m, Color fill) {
  Image out{image.height, image.width, {}};
  out.pixels.reserve(image.pixels.size());
  const auto width = static_cast<double>(image.width), height = static_cast<double>(image.height);
  for (std::int64_t row = 0; row < image.height; ++row)
    for (std::int64_t column = 0; column < image.width; ++column) {
      const double cx = static_cast<double>(column) + 0.5, cy = static_cast<double>(row) + 0.5;
      const double x = m[0] * cx + m[1] * cy + m[2], y = m[3] * cx + m[4] * cy + m[5];
      const bool inside = x >= 0 && x < width && y >= 0 && y < height;
      const Color color = inside ? sample_bicubic(image, x, y) : fill;
      out.pixels.insert(out.pixels.end(), color.begin(), color.end());
    }
  return out;
}

Image rotate(const Image& image, double degrees, Color fill) {
  if (degrees == 0) return image;
  const double angle = -degrees * std::numbers::pi / 180, c = std::cos(angle), s = std::sin(angle);
  const double x = static_cast<double>(image.width) / 2, y = static_cast<double>(image.height) / 2;
  return transform_affine(image, {c, s, x - c * x - s * y, -s, c, y + s * x - c * y}, fill);
}

}  // namespace nextgrad
