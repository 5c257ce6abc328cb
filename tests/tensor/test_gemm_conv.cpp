// Matrix products and convolutions against plain loops, and their independence of the threads.
#include <Eigen/Core>

#include "tensor/threads.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using test::test_device;
using test::worst;

namespace {

Backend& backend() {
  return test::tested();
}

Tensor random(const Shape& shape, DType dtype, std::uint32_t use) {
  return backend_of({})
      .random_normal(shape, DType::f64, {5, 0, use, 0})
      .to(dtype)
      .to(test_device());
}

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Matrix g of a batch, the only one if it holds but one.
Matrix matrix_of(const Tensor& batch, std::int64_t g, bool transposed) {
  const std::int64_t at = batch.dim(0) > 1 ? g : 0;
  const auto numbers = batch.slice(0, at, at + 1).to_vector<double>();
  const Eigen::Map<const Matrix> matrix(numbers.data(), batch.dim(1), batch.dim(2));
  return transposed ? Matrix(matrix.transpose()) : Matrix(matrix);
}

// op(A) op(B) by Eigen.
std::vector<double> product(const Tensor& a, const Tensor& b, bool ta, bool tb) {
  std::vector<double> c;
  for (std::int64_t g = 0; g < std::max(a.dim(0), b.dim(0)); ++g) {
    const Matrix one = matrix_of(a, g, ta) * matrix_of(b, g, tb);
    c.insert(c.end(), one.data(), one.data() + one.size());
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
  CHECK(backend()
            .matmul(Tensor::zeros({1, 0, 3}, DType::f32, test_device()),
                    Tensor::zeros({1, 3, 2}, DType::f32, test_device()), false, false)
            .numel() == 0);
  CHECK(backend()
            .matmul(Tensor::zeros({1, 2, 0}, DType::f32, test_device()),
                    Tensor::zeros({1, 0, 2}, DType::f32, test_device()), false, false)
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

namespace {

struct ConvCase {
  Shape x, w;
  Window window;
  int groups = 1;
};

// Calls fn(index in y, index in x, index in w) for each product of a convolution.
template <class Fn>
void for_each_product(const ConvCase& c, Fn&& fn) {
  const auto& [n, h, w, in] = std::array{c.x[0], c.x[1], c.x[2], c.x[3]};
  const auto& [out, kh, kw, depth] = std::array{c.w[0], c.w[1], c.w[2], c.w[3]};
  const Window& k = c.window;
  std::size_t y = 0;
  for (std::int64_t image = 0; image < n; ++image)
    for (std::int64_t oy = 0; oy < k.out_h(h); ++oy)
      for (std::int64_t ox = 0; ox < k.out_w(w); ++ox)
        for (std::int64_t o = 0; o < out; ++o, ++y)
          for (std::int64_t t = 0; t < kh * kw * depth; ++t) {
            const std::int64_t iy = oy * k.stride_h - k.pad_h + t / (kw * depth) * k.dilation_h;
            const std::int64_t ix = ox * k.stride_w - k.pad_w + t / depth % kw * k.dilation_w;
            const std::int64_t channel = o / (out / c.groups) * depth + t % depth;
            if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
            fn(y, static_cast<std::size_t>(((image * h + iy) * w + ix) * in + channel),
               static_cast<std::size_t>(o * kh * kw * depth + t));
          }
}

void require_conv(ConvCase c, DType dtype) {
  c.window.kh = static_cast<int>(c.w[1]);
  c.window.kw = static_cast<int>(c.w[2]);
  const double tolerance = dtype == DType::f32 ? 5e-4 : 1e-11;
  const Tensor x = random(c.x, dtype, 9), w = random(c.w, dtype, 10),
               b = random({c.w[0]}, dtype, 11);
  const Tensor y = backend().conv2d(x, w, b, c.window, c.groups);
  const Tensor dy = random(y.shape(), dtype, 12);
  const auto xv = x.to_vector<double>(), wv = w.to_vector<double>(), bv = b.to_vector<double>(),
             dyv = dy.to_vector<double>();
  std::vector<double> yv(dyv.size()), dx(xv.size()), dw(wv.size());
  for (std::size_t i = 0; i < yv.size(); ++i) yv[i] = bv[i % bv.size()];
  for_each_product(c, [&](std::size_t iy, std::size_t ix, std::size_t iw) {
    yv[iy] += xv[ix] * wv[iw];
    dx[ix] += dyv[iy] * wv[iw];
    dw[iw] += dyv[iy] * xv[ix];
  });
  const ConvGradients g = backend().conv2d_backward(x, w, dy, c.window, c.groups, {});
  CHECK(worst(y, yv) < tolerance);
  CHECK(worst(g.dx, dx) < tolerance);
  CHECK(worst(g.dweight, dw) < tolerance);
}

}  // namespace

TEST_CASE("conv2d and its gradients against plain loops") {
  const Window two{.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1};
  const std::vector<ConvCase> cases = {
      {{2, 20, 18, 3}, {16, 3, 3, 3}, two},    // a run of 9 numbers
      {{1, 13, 22, 7}, {33, 3, 3, 7}, two},    // of 21; odd sizes
      {{2, 9, 11, 11}, {5, 3, 3, 11}, two},    // of 33
      {{1, 16, 16, 40}, {17, 3, 3, 40}, two},  // of 120
      {{1, 1, 30, 5}, {4, 3, 3, 5}, two},      // one row
      {{3, 30, 1, 1}, {1, 3, 3, 1}, two},      // one column, one channel
      {{1, 2, 2, 3}, {4, 7, 7, 3}, {.stride_h = 2, .stride_w = 3, .pad_h = 3, .pad_w = 4}},
      {{2, 7, 8, 4}, {6, 1, 1, 4}, {.stride_h = 2, .stride_w = 3}},  // pixels that no tap reaches
      {{1, 9, 10, 3}, {4, 2, 2, 3}, {.stride_h = 4, .stride_w = 4}},
      {{2, 8, 9, 6}, {8, 3, 3, 6}, {.pad_h = 1, .pad_w = 1}},
      {{1, 12, 14, 6}, {5, 3, 3, 6}, {.stride_h = 3, .stride_w = 2, .pad_h = 2, .pad_w = 5}},
      {{1, 15, 13, 4},
       {6, 3, 3, 4},
       {.stride_h = 2, .stride_w = 2, .dilation_h = 2, .dilation_w = 2}},
      {{2, 11, 9, 6}, {8, 3, 2, 3}, {3, 2, 2, 1, 2, 1, 2, 3}, 2},
      {{1, 10, 11, 18}, {36, 3, 3, 9}, two, 2},
  };
  for (const ConvCase& c : cases)
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(c.x[1]);
      CAPTURE(c.x[3]);
      require_conv(c, dtype);
    }
}

TEST_CASE("the input gradient in more than one go") {
  const ConvCase big{{1, 300, 290, 16}, {2, 3, 3, 16}, {.pad_h = 1, .pad_w = 1}};
  require_conv(big, DType::f32);
}
