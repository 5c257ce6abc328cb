// Matrix products and convolutions against plain loops, and their independence of the threads.
#include <doctest/doctest.h>

#include <cmath>

#include "tensor/backend.h"

using namespace nextgrad;

namespace {

Backend& backend() {
  return backend_of({});
}

Tensor random(const Shape& shape, DType dtype, std::uint32_t use) {
  return backend().random_normal(shape, DType::f64, {5, 0, use, 0}).to(dtype);
}

double worst(const Tensor& a, const std::vector<double>& b) {
  const auto x = a.to_vector<double>();
  REQUIRE(x.size() == b.size());
  double w = 0;
  for (std::size_t i = 0; i < b.size(); ++i) w = std::max(w, std::abs(x[i] - b[i]));
  return w;
}

// op(A) op(B) by definition.
std::vector<double> product(const Tensor& a, const Tensor& b, bool ta, bool tb) {
  const auto x = (ta ? a.transpose(1, 2) : a).to_vector<double>();
  const auto y = (tb ? b.transpose(1, 2) : b).to_vector<double>();
  const std::int64_t m = a.dim(ta ? 2 : 1), k = a.dim(ta ? 1 : 2), n = b.dim(tb ? 1 : 2);
  const std::int64_t batch = std::max(a.dim(0), b.dim(0));
  std::vector<double> c;
  for (std::int64_t g = 0; g < batch; ++g)
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double s = 0;
        for (std::int64_t p = 0; p < k; ++p)
          s += x[static_cast<std::size_t>((a.dim(0) > 1 ? g : 0) * m * k + i * k + p)] *
               y[static_cast<std::size_t>((b.dim(0) > 1 ? g : 0) * k * n + p * n + j)];
        c.push_back(s);
      }
  return c;
}

// The same numbers with 1, 2 and 3 threads, to the bit.
template <class Fn>
void require_threads_do_not_matter(Fn&& fn) {
  set_num_threads(1);
  const auto one = fn().template to_vector<double>();
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    CHECK(fn().template to_vector<double>() == one);
  }
  set_num_threads(0);
}

}  // namespace

TEST_CASE("matmul of every size and transposition") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const double tolerance = dtype == DType::f32 ? 2e-4 : 1e-11;
    for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{{1, 1, 1},
                                                                          {7, 5, 3},
                                                                          {6, 16, 8},
                                                                          {13, 33, 70},
                                                                          {97, 31, 65},
                                                                          {5, 17, 600},
                                                                          {100, 150, 1}})
      for (const bool ta : {false, true})
        for (const bool tb : {false, true}) {
          const Tensor a = random(ta ? Shape{2, k, m} : Shape{2, m, k}, dtype, 1);
          const Tensor b = random(tb ? Shape{2, n, k} : Shape{2, k, n}, dtype, 2);
          CHECK(worst(backend().matmul(a, b, ta, tb), product(a, b, ta, tb)) < tolerance);
          const Tensor one = b.slice(0, 0, 1).contiguous();
          CHECK(worst(backend().matmul(a, one, ta, tb), product(a, one, ta, tb)) < tolerance);
        }
  }
}

TEST_CASE("products of nothing") {
  CHECK(
      backend().matmul(Tensor::zeros({1, 0, 3}), Tensor::zeros({1, 3, 2}), false, false).numel() ==
      0);
  CHECK(backend()
            .matmul(Tensor::zeros({1, 2, 0}), Tensor::zeros({1, 0, 2}), false, false)
            .to_vector<double>() == std::vector<double>(4, 0));
}

TEST_CASE("long sums and products do not depend on the number of threads") {
  const Tensor dy = random({5000, 20}, DType::f32, 3), x = random({5000, 36}, DType::f32, 4);
  const Tensor w = random({20, 36}, DType::f32, 5);
  require_threads_do_not_matter([&] { return backend().linear_backward(x, w, dy, {}).dweight; });
  require_threads_do_not_matter([&] { return backend().linear_backward(x, w, dy, {}).dbias; });
  require_threads_do_not_matter(
      [&] { return backend().linear(x, w, {}, Activation::gelu, nullptr); });
  const Tensor image = random({2, 40, 37, 19}, DType::f32, 6),
               taps = random({3, 3, 19}, DType::f32, 7);
  const Window window{3, 3, 1, 1, 1, 1};
  const Tensor g = backend().depthwise(image, taps, {}, {}, window);
  require_threads_do_not_matter(
      [&] { return backend().depthwise_backward(image, taps, g, window, {}).dweight; });
  require_threads_do_not_matter(
      [&] { return backend().depthwise_backward(image, taps, g, window, {}).dx; });
  const Tensor kernel = random({8, 3, 3, 19}, DType::f32, 8);
  const Window two{3, 3, 2, 2, 1, 1};
  const Tensor y = backend().conv2d(image, kernel, {}, two, 1);
  require_threads_do_not_matter(
      [&] { return backend().conv2d_backward(image, kernel, y, two, 1, {}).dweight; });
  require_threads_do_not_matter(
      [&] { return backend().conv2d_backward(image, kernel, y, two, 1, {}).dx; });
}

TEST_CASE("conv2d against plain loops") {
  const Shape xs{2, 11, 9, 6}, ws{8, 3, 2, 3};
  const Window w{3, 2, 2, 1, 2, 1, 2, 3};
  const int groups = 2;
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = random(xs, dtype, 9), k = random(ws, dtype, 10), b = random({8}, dtype, 11);
    const Tensor y = backend().conv2d(x, k, b, w, groups);
    const auto xv = x.to_vector<double>(), kv = k.to_vector<double>(), bv = b.to_vector<double>();
    std::vector<double> expected;
    for (std::int64_t n = 0; n < 2; ++n)
      for (std::int64_t oy = 0; oy < w.out_h(11); ++oy)
        for (std::int64_t ox = 0; ox < w.out_w(9); ++ox)
          for (std::int64_t o = 0; o < 8; ++o) {
            double s = bv[static_cast<std::size_t>(o)];
            for (std::int64_t ky = 0; ky < 3; ++ky)
              for (std::int64_t kx = 0; kx < 2; ++kx)
                for (std::int64_t i = 0; i < 3; ++i) {
                  const std::int64_t iy = oy * 2 - 2 + ky * 2, ix = ox - 1 + kx * 3;
                  if (iy < 0 || iy >= 11 || ix < 0 || ix >= 9) continue;
                  s += xv[static_cast<std::size_t>(((n * 11 + iy) * 9 + ix) * 6 + o / 4 * 3 + i)] *
                       kv[static_cast<std::size_t>(((o * 3 + ky) * 2 + kx) * 3 + i)];
                }
            expected.push_back(s);
          }
    CHECK(worst(y, expected) < (dtype == DType::f32 ? 1e-4 : 1e-12));
  }
}
