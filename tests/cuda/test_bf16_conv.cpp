// Convolution, pooling and resize on bf16 activations against f32 on the same rounded numbers.
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

constexpr double kRounding = 1.0 / 128;  // of a result, and of sums whose terms were rounded

bool on_cpu() {
  return test_device() == Device{};
}

Tensor rounded(const Shape& shape, std::uint64_t seed) {
  return random_tensor<float>(shape, seed, -1, 1).to(DType::bf16);
}

// Sums cancel, so that errors are compared with the largest number.
double relative(const Tensor& got, const Tensor& want) {
  const Doubles g = numbers(got), w = numbers(want);
  REQUIRE(got.shape() == want.shape());
  Worst worst;
  double size = 1e-30;
  for (const double v : w) size = std::max(size, std::abs(v));
  for (std::size_t i = 0; i < g.size(); ++i) worst.see(std::abs(g[i] - w[i]) / size);
  return worst.error();
}

struct ConvCase {
  Shape x, weight;
  Window window;
  int groups = 1;
};

}  // namespace

TEST_CASE("bf16: conv2d and its gradients") {
  if (on_cpu()) return;
  const Window two{3, 3, 2, 2, 1, 1};
  const std::vector<ConvCase> cases = {
      {{2, 20, 18, 3}, {32, 3, 3, 3}, two},     {{2, 16, 17, 32}, {64, 3, 3, 32}, two},
      {{1, 13, 22, 7}, {33, 3, 3, 7}, two},     {{2, 7, 9, 24}, {16, 1, 1, 24}, {}},
      {{1, 10, 11, 18}, {36, 3, 3, 9}, two, 2}, {{1, 1, 1, 5}, {3, 1, 1, 5}, {}}};
  for (const ConvCase& c : cases) {
    CAPTURE(c.x.str());
    CAPTURE(c.weight.str());
    const Tensor x = rounded(c.x, 1), weight = rounded(c.weight, 2).to(DType::f32);
    const Tensor bias = random_tensor<float>({c.weight[0]}, 3);
    const Tensor x32 = x.to(DType::f32);
    const Tensor y = tested().conv2d(x, weight, bias, c.window, c.groups);
    CHECK(y.dtype() == DType::bf16);
    CHECK(relative(y, tested().conv2d(x32, weight, bias, c.window, c.groups)) < kRounding);
    const Tensor dy = rounded(y.shape(), 4);
    const ConvGradients g = tested().conv2d_backward(x, weight, dy, c.window, c.groups, {});
    const ConvGradients want =
        tested().conv2d_backward(x32, weight, dy.to(DType::f32), c.window, c.groups, {});
    CHECK(g.dx.dtype() == DType::bf16);
    CHECK(g.dweight.dtype() == DType::f32);
    CHECK(g.dbias.dtype() == DType::f32);
    CHECK(relative(g.dx, want.dx) < kRounding);
    CHECK(relative(g.dweight, want.dweight) < 1e-5);
    CHECK(relative(g.dbias, want.dbias) < 1e-5);
  }
}

TEST_CASE("bf16: resize, its gradient, a band, argmax") {
  if (on_cpu()) return;
  for (const std::int64_t channels : {3, 8, 40}) {
    for (const Resize mode : {Resize::bilinear, Resize::bilinear_align_corners, Resize::nearest}) {
      CAPTURE(channels);
      const Tensor x = rounded({2, 5, 6, channels}, 1), x32 = x.to(DType::f32);
      const Tensor y = tested().resize(x, 11, 24, mode);
      CHECK(y.dtype() == DType::bf16);
      CHECK(relative(y, tested().resize(x32, 11, 24, mode)) < kRounding);
      const Tensor dy = rounded(y.shape(), 2);
      const Tensor dx = tested().resize_backward(x.shape(), dy, mode);
      CHECK(dx.dtype() == DType::bf16);
      CHECK(relative(dx, tested().resize_backward(x.shape(), dy.to(DType::f32), mode)) < kRounding);
    }
    const Tensor x = rounded({1, 5, 6, channels}, 3);
    const Tensor band = tested().resize_band(x, {5, 0, 11, 2, 6}, 24);
    CHECK(numbers(band) == numbers(tested().resize(x, 11, 24, Resize::bilinear).slice(1, 2, 8)));
    CHECK(numbers(tested().resize_argmax(x, 11, 24)) ==
          numbers(tested().resize_argmax(x.to(DType::f32), 11, 24)));
  }
}

TEST_CASE("bf16: upsampled cross entropy and its gradient") {
  if (on_cpu()) return;
  for (const std::int64_t k : {5, 19, 150}) {
    const Tensor logits = random_tensor<float>({2, 4, 3, k}, 1, -5, 5).to(DType::bf16);
    const Tensor logits32 = logits.to(DType::f32), labels = random_labels({2, 32, 24}, 2, k, 255);
    for (const bool weighted : {false, true}) {
      CAPTURE(k);
      const Tensor weights = weighted ? random_tensor<float>({k}, 3, 0.2, 2) : Tensor();
      const CrossEntropyOptions o{255, weighted ? 0.1 : 0.0, CrossEntropyOptions::Normalise::valid};
      const auto r = tested().upsample_cross_entropy(logits, {labels, weights, o});
      const auto want = tested().upsample_cross_entropy(logits32, {labels, weights, o});
      CHECK(r.loss.dtype() == DType::f32);
      CHECK(r.log_sum.dtype() == DType::f32);
      CHECK(r.normaliser.dtype() == DType::f64);
      CHECK(r.loss.item() == doctest::Approx(want.loss.item()).epsilon(1e-6));
      CHECK(relative(r.log_sum, want.log_sum) < 1e-6);
      const Tensor dloss = scalar<float>(2);
      const Tensor g =
          tested().upsample_cross_entropy_backward(logits, {labels, weights, o}, r, dloss);
      CHECK(g.dtype() == DType::bf16);
      CHECK(relative(g, tested().upsample_cross_entropy_backward(logits32, {labels, weights, o},
                                                                 want, dloss)) < kRounding);
    }
  }
}
