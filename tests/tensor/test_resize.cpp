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
      CHECK(worst(cpu().resize(x, c.h, c.w, mode), y) < tolerance<T>());
      const auto [one, three] = with_threads([&] { return cpu().resize_backward(c.x, dy, mode); });
      CHECK(worst(one, dx) < tolerance<T>());
      CHECK(numbers(one) == numbers(three));
    }
  }
}

TEST_CASE("resize gives PyTorch's numbers") {
  // torch.nn.functional.interpolate of [[0, 1], [2, 3]] to 3 x 4.
  const Tensor x = Tensor::from(std::vector<double>{0, 1, 2, 3}, {1, 2, 2, 1});
  CHECK(worst(cpu().resize(x, 3, 4, Resize::bilinear),
              {0, 0.25, 0.75, 1, 1, 1.25, 1.75, 2, 2, 2.25, 2.75, 3}) < 1e-15);
  CHECK(worst(cpu().resize(x, 3, 4, Resize::bilinear_align_corners),
              {0, 1.0 / 3, 2.0 / 3, 1, 1, 4.0 / 3, 5.0 / 3, 2, 2, 7.0 / 3, 8.0 / 3, 3}) < 1e-15);
  CHECK(worst(cpu().resize(x, 3, 4, Resize::nearest), {0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3}) == 0);
}

TEST_CASE_TEMPLATE("resize_argmax is the argmax of the resized", T, float, double) {
  for (const Case& c : kCases) {
    const Tensor x = random_tensor<T>(c.x, 3);
    const Tensor full = cpu().resize(x, c.h, c.w, Resize::bilinear);
    const auto best = cpu().resize_argmax(x, c.h, c.w).template to_vector<std::int32_t>();
    const Doubles v = numbers(full);
    for (std::size_t p = 0; p < best.size(); ++p) {
      const double* pixel = v.data() + p * at(c.x[3]);
      CHECK(pixel[best[p]] >= *std::max_element(pixel, pixel + c.x[3]) - tolerance<T>());
    }
  }
  const Tensor equal = Tensor::full({1, 2, 2, 5}, 1.0, dtype_of<T>);
  CHECK(numbers(cpu().resize_argmax(equal, 3, 3)) == Doubles(9, 0.0));
  CHECK_THROWS_AS(cpu().resize(equal, 0, 3, Resize::bilinear), Error);
}
