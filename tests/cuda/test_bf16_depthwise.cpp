// Depth-wise convolution and the feed-forward part on bf16 activations, against the same in f32 on
// the same rounded numbers.
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

constexpr double kRounding = 1.0 / 128;  // of a result, against 1 + its size

Tensor rounded(const Shape& shape, std::uint64_t seed) {
  return random_tensor<float>(shape, seed).to(DType::bf16);
}
Tensor wide(const Tensor& t) {
  return t.defined() ? t.to(DType::f32) : Tensor();
}

void check_window(std::int64_t c, const Window& window) {
  CAPTURE(c);
  CAPTURE(window.kh);
  const Shape out{2, window.out_h(13), window.out_w(10), c};
  const Tensor x = rounded({2, 13, 10, c}, 1), dy = rounded(out, 2), base = rounded(out, 3);
  const Tensor weight = random_tensor<float>({window.kh, window.kw, c}, 4, -0.5, 0.5);
  const Tensor bias = random_tensor<float>({c}, 5);
  for (const bool with : {false, true}) {
    const Tensor b = with ? bias : Tensor(), under = with ? base : Tensor();
    const Tensor y = tested().depthwise(x, weight, b, under, window);
    CHECK(y.dtype() == DType::bf16);
    const Tensor want = tested().depthwise(wide(x), weight, b, wide(under), window);
    CHECK(worst(y, want) < kRounding);
  }
  const ConvGradients g = tested().depthwise_backward(x, weight, dy, window, {});
  const ConvGradients want = tested().depthwise_backward(wide(x), weight, wide(dy), window, {});
  CHECK(g.dx.dtype() == DType::bf16);
  CHECK(g.dweight.dtype() == DType::f32);
  CHECK(g.dbias.dtype() == DType::f32);
  CHECK(worst(g.dx, want.dx) < kRounding);
  // Nothing is rounded to bf16 on the way.
  CHECK(worst(g.dweight, want.dweight) < tolerance<float>());
  CHECK(worst(g.dbias, want.dbias) < tolerance<float>());
}

}  // namespace

TEST_CASE("bf16: depth-wise convolution") {
  for (const std::int64_t c : {1, 6, 16, 72}) {
    for (const int k : {3, 5, 7})
      check_window(c, {.kh = k, .kw = k, .pad_h = k / 2, .pad_w = k / 2});
    check_window(c, {3, 3, 2, 2, 1, 1, 1, 1});
    check_window(c, {3, 3, 1, 1, 2, 2, 2, 2});
    check_window(c, {1, 21, 1, 1, 0, 10, 1, 1});
  }
}

TEST_CASE("bf16: feed-forward part") {
  for (const std::int64_t hidden : {8, 40}) {
    constexpr std::int64_t kChannels = 8;
    const Tensor x = rounded({2, 9, 6, kChannels}, 1), base = rounded({2, 9, 6, kChannels}, 2);
    const FeedForwardWeights f{random_tensor<float>({hidden, kChannels}, 3, -0.3, 0.3),
                               random_tensor<float>({hidden}, 4),
                               random_tensor<float>({3, 3, hidden}, 5, -0.3, 0.3),
                               random_tensor<float>({hidden}, 6),
                               random_tensor<float>({kChannels, hidden}, 7, -0.3, 0.3),
                               random_tensor<float>({kChannels}, 8)};
    const Tensor y = tested().feed_forward(base, x, f);
    CHECK(y.dtype() == DType::bf16);
    // Two hidden maps and the products' weights are rounded as well.
    CHECK(worst(y, tested().feed_forward(wide(base), wide(x), f)) < 4 * kRounding);
  }
}
