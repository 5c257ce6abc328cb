#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

struct Case {
  Shape x;
  std::int64_t h, w;
};
const std::vector<Case> kCases = {
    {{2, 3, 5, 4}, 7, 9}, {{1, 8, 6, 3}, 3, 2}, {{2, 1, 1, 1}, 4, 3}, {{1, 4, 4, 33}, 32, 32},
    {{1, 5, 3, 2}, 5, 3}, {{2, 7, 2, 1}, 1, 1}, {{1, 2, 9, 3}, 5, 4}};

// Weight of source position i for output position o.
double weight(std::int64_t o, std::int64_t i, std::int64_t in, std::int64_t out, Resize mode) {
  if (mode == Resize::nearest) {
    return i == static_cast<std::int64_t>(std::floor(double(o) * double(in) / double(out)));
  }
  double s = (double(o) + 0.5) * double(in) / double(out) - 0.5;
  if (mode == Resize::bilinear_align_corners) {
    s = out > 1 ? double(o) * double(in - 1) / double(out - 1) : 0;
  }
  s = std::clamp(s, 0.0, double(in - 1));
  return std::max(0.0, 1 - std::abs(s - double(i)));
}

// Calls fn(output element, input element, weight) for every pair with a weight.
template <class Fn>
void for_pairs(const Case& c, Resize mode, Fn&& fn) {
  const std::int64_t h = c.x[1], w = c.x[2], k = c.x[3];
  for (std::int64_t p = 0; p < c.x[0] * c.h * c.w; ++p) {
    for (std::int64_t q = 0; q < h * w; ++q) {
      const double t =
          weight(p / c.w % c.h, q / w, h, c.h, mode) * weight(p % c.w, q % w, w, c.w, mode);
      if (t == 0) continue;
      for (std::int64_t e = 0; e < k; ++e) {
        fn(at(p * k + e), at((p / (c.h * c.w) * h * w + q) * k + e), t);
      }
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE("resize in all modes and its gradient", T, float, double) {
  for (const Case& c : kCases) {
    for (const Resize mode : {Resize::bilinear, Resize::bilinear_align_corners, Resize::nearest}) {
      CAPTURE(c.x.str());
      CAPTURE(static_cast<int>(mode));
      const Tensor x = random_tensor<T>(c.x, 1);
      const Tensor dy = random_tensor<T>({c.x[0], c.h, c.w, c.x[3]}, 2);
      const Doubles v = numbers(x), d = numbers(dy);
      Doubles y(d.size()), dx(v.size());
      for_pairs(c, mode, [&](std::size_t o, std::size_t i, double t) {
        y[o] += t * v[i];
        dx[i] += t * d[o];
      });
      CHECK(worst(tested().resize(x, c.h, c.w, mode), y) < tolerance<T>());
      const auto [one, three] =
          with_threads([&] { return tested().resize_backward(c.x, dy, mode); });
      CHECK(worst(one, dx) < tolerance<T>());
      CHECK(numbers(one) == numbers(three));
    }
  }
}

TEST_CASE("resize gives PyTorch's numbers") {
  // torch.nn.functional.interpolate of [[0, 1], [2, 3]] to 3 x 4.
  const Tensor x = Tensor::from(std::vector<double>{0, 1, 2, 3}, {1, 2, 2, 1}, test_device());
  CHECK(worst(tested().resize(x, 3, 4, Resize::bilinear),
              {0, 0.25, 0.75, 1, 1, 1.25, 1.75, 2, 2, 2.25, 2.75, 3}) < 1e-15);
  CHECK(worst(tested().resize(x, 3, 4, Resize::bilinear_align_corners),
              {0, 1.0 / 3, 2.0 / 3, 1, 1, 4.0 / 3, 5.0 / 3, 2, 2, 7.0 / 3, 8.0 / 3, 3}) < 1e-15);
  CHECK(worst(tested().resize(x, 3, 4, Resize::nearest), {0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3}) ==
        0);
}

// The class of every pixel by its definition: blend vertically, then horizontally, take the first
// of the largest.
template <class T>
std::vector<std::int32_t> plain_argmax(const Tensor& x, std::int64_t h, std::int64_t w) {
  const std::int64_t k = x.dim(3);
  const auto v = x.to_vector<T>();
  const auto source = [](std::int64_t o, std::int64_t in, std::int64_t out) {
    const double s = std::max(
        0.0,
        (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5);
    const auto first = std::min(in - 1, static_cast<std::int64_t>(s));
    const auto second = std::min(in - 1, first + 1);
    return std::tuple(first, second,
                      static_cast<T>(first == second ? 0.0 : s - static_cast<double>(first)));
  };
  std::vector<std::int32_t> out;
  for (std::int64_t p = 0; p < x.dim(0) * h * w; ++p) {
    const auto [y0, y1, ty] = source(p / w % h, x.dim(1), h);
    const auto [x0, x1, tx] = source(p % w, x.dim(2), w);
    std::int32_t best = 0;
    T most = -std::numeric_limits<T>::infinity();
    for (std::int64_t c = 0; c < k; ++c) {
      const auto corner = [&, i = p / (h * w)](std::int64_t y, std::int64_t z) {
        return v[at(((i * x.dim(1) + y) * x.dim(2) + z) * k + c)];
      };
      const T left = (1 - ty) * corner(y0, x0) + ty * corner(y1, x0);
      const T right = (1 - ty) * corner(y0, x1) + ty * corner(y1, x1);
      const T value = (1 - tx) * left + tx * right;
      if (value > most) most = value, best = static_cast<std::int32_t>(c);
    }
    out.push_back(best);
  }
  return out;
}

TEST_CASE_TEMPLATE("resize_band: the rows of the whole, from the rows it reads", T, float, double) {
  for (const Case& c : kCases) {
    CAPTURE(c.x.str());
    const Tensor x = random_tensor<T>(c.x, 1);
    const Tensor whole = tested().resize(x, c.h, c.w, Resize::bilinear);
    for (std::int64_t top = 0; top < c.h; ++top) {
      for (std::int64_t rows = 1; top + rows <= c.h; ++rows) {
        RowBand band{c.x[1], 0, c.h, top, rows};
        const auto [first, last] = rows_read(band);
        band.in_top = first;
        const Tensor part = tested().resize_band(x.slice(1, first, last).contiguous(), band, c.w);
        CHECK(numbers(part) == numbers(whole.slice(1, top, top + rows)));
        if (last - first > 1) {
          CHECK_THROWS_AS(tested().resize_band(x.slice(1, first + 1, last).contiguous(), band, c.w),
                          Error);
        }
      }
    }
    CHECK_THROWS_AS(tested().resize_band(x, {c.x[1], 0, c.h, 0, c.h + 1}, c.w), Error);
  }
}

TEST_CASE_TEMPLATE("resize_argmax is the argmax of the resized", T, float, double) {
  std::vector<Case> cases(kCases.begin(), kCases.end());
  cases.push_back({{1, 9, 12, 150}, 72, 96});
  cases.push_back({{2, 5, 7, 19}, 37, 60});
  for (const Case& c : cases) {
    CAPTURE(c.x.str());
    Tensor x = random_tensor<T>(c.x, 3);
    for (const bool confident : {false, true}) {
      // A few classes far above the rest: most cells have one candidate.
      if (confident) {
        auto v = x.template to_vector<T>();
        for (std::size_t i = 0; i < v.size(); ++i) v[i] += i % 5 == 0 ? T(3) : T(0);
        x = Tensor::from(v, c.x, test_device());
      }
      const auto want = plain_argmax<T>(x, c.h, c.w);
      const auto [one, three] = with_threads([&] { return tested().resize_argmax(x, c.h, c.w); });
      CHECK(one.template to_vector<std::int32_t>() == want);
      CHECK(three.template to_vector<std::int32_t>() == want);
    }
  }
}

TEST_CASE_TEMPLATE("resize_argmax: the first of equals, NaN never, infinities", T, float, double) {
  const Tensor equal = Tensor::full({1, 2, 2, 5}, 1.0, dtype_of<T>, test_device());
  CHECK(numbers(tested().resize_argmax(equal, 3, 3)) == Doubles(9, 0.0));
  const T nan = std::numeric_limits<T>::quiet_NaN(), inf = std::numeric_limits<T>::infinity();
  const auto one = [](std::vector<T> v) {
    const auto k = static_cast<std::int64_t>(v.size());
    return numbers(tested().resize_argmax(Tensor::from(v, {1, 1, 1, k}, test_device()), 2, 1));
  };
  CHECK(one({nan, 1, 2, 2, nan}) == Doubles(2, 2.0));
  CHECK(one({nan, nan}) == Doubles(2, 0.0));
  CHECK(one({-1, -inf, -3}) == Doubles(2, 0.0));
  const Tensor x = Tensor::from(std::vector<T>{5, nan, 0, 0, 1, 0}, {1, 1, 2, 3}, test_device());
  CHECK(numbers(tested().resize_argmax(x, 1, 4)) == Doubles{0, 0, 0, 1});
  CHECK_THROWS_AS(tested().resize(equal, 0, 3, Resize::bilinear), Error);
  CHECK_THROWS_AS(tested().resize_argmax(equal, 3, 0), Error);
}

// Where an output lies exactly on a source row, the next one has no share in it, and may not exist.
TEST_CASE_TEMPLATE("resize: a band reads no row that it does not say", T, float, double) {
  for (const std::int64_t in : {2, 3, 5, 6, 9})
    for (const std::int64_t out : {1, 2, 3, 7, 10, 15, 18, 45}) {
      const Tensor x = random_tensor<T>({1, in, 3, 4}, 1);
      const Tensor whole = tested().resize(x, out, 5, Resize::bilinear);
      for (std::int64_t top = 0; top < out; top += 2) {
        RowBand band{in, 0, out, top, std::min<std::int64_t>(3, out - top)};
        const auto [first, last] = rows_read(band);
        band.in_top = first;
        // A row of NaN lies behind those that are read.
        Tensor padded =
            Tensor::full({1, last - first + 1, 3, 4}, std::nan(""), dtype_of<T>, test_device());
        padded.slice(1, 0, last - first).copy_(x.slice(1, first, last));
        const Tensor rows = padded.slice(1, 0, last - first);
        const Tensor want = whole.slice(1, top, top + band.out_rows).contiguous();
        CHECK(worst(tested().resize_band(rows, band, 5), numbers(want)) < tolerance<T>());
      }
    }
}
