// Products and linear layers of bf16 activations.
#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE("bf16: products and linear layers") {
  const Rounded a = rounded({2, 17, 24}, 1), b = rounded({2, 24, 9}, 2);
  check_activation(tested().matmul(a.bf16, b.bf16, false, false),
                   tested().matmul(a.f32, b.f32, false, false));
  for (const std::int64_t in : {16, 21}) {
    const Rounded x = rounded({50, in}, 3), dy = rounded({50, 24}, 4);
    // Weights are rounded to bf16 for a product; here they already are.
    const Tensor w = rounded({24, in}, 5).f32, bias = random_tensor<float>({24}, 6);
    Tensor z, z32;
    for (const Activation f : {Activation::none, Activation::gelu, Activation::relu}) {
      const bool keeps = f == Activation::gelu;
      check_activation(tested().linear(x.bf16, w, bias, f, keeps ? &z : nullptr),
                       tested().linear(x.f32, w, bias, f, keeps ? &z32 : nullptr));
    }
    check_activation(z, z32);
    const ConvGradients d = tested().linear_backward(x.bf16, w, dy.bf16, {});
    const ConvGradients d32 = tested().linear_backward(x.f32, w, dy.f32, {});
    check_activation(d.dx, d32.dx);
    check_parameter(d.dweight, d32.dweight);
    check_parameter(d.dbias, d32.dbias);
  }
}

TEST_CASE("products of bf16 at odd addresses") {
  // A view that begins behind the first number: contiguous, and at no multiple of 4 bytes.
  const auto odd = [](const Rounded& r, const Shape& shape) {
    const auto view = [&](const Tensor& t) {
      return t.slice(0, 1, 1 + shape.numel()).reshape(shape);
    };
    return Rounded{view(r.bf16), view(r.f32)};
  };
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      const Rounded a = odd(rounded({1000}, 1), transpose_a ? Shape{2, 21, 18} : Shape{2, 18, 21});
      const Rounded b = odd(rounded({1000}, 2), transpose_b ? Shape{1, 17, 21} : Shape{1, 21, 17});
      check_activation(tested().matmul(a.bf16, b.bf16, transpose_a, transpose_b),
                       tested().matmul(a.f32, b.f32, transpose_a, transpose_b));
    }
  }
  const Rounded x = odd(rounded({1000}, 3), {30, 19}), dy = odd(rounded({1000}, 4), {30, 6});
  const Tensor w = rounded({6, 19}, 5).f32, bias = random_tensor<float>({6}, 6);
  check_activation(tested().linear(x.bf16, w, bias, Activation::none, nullptr),
                   tested().linear(x.f32, w, bias, Activation::none, nullptr));
  const ConvGradients d = tested().linear_backward(x.bf16, w, dy.bf16, {});
  const ConvGradients d32 = tested().linear_backward(x.f32, w, dy.f32, {});
  check_activation(d.dx, d32.dx);
  check_parameter(d.dweight, d32.dweight);
}

TEST_CASE("bf16: the end of a residual branch") {
  const Rounded x = rounded({3, 5, 16}, 1), base = rounded({3, 5, 8}, 2),
                dy = rounded({3, 5, 8}, 3);
  const Tensor w = rounded({8, 16}, 4).f32, bias = random_tensor<float>({8}, 5);
  const Tensor mask = Tensor::from(std::vector<float>{2, 0, 1}, {3}, test_device());
  for (const Activation f : {Activation::none, Activation::gelu, Activation::relu}) {
    const LinearBranch branch{.weight = w, .bias = bias, .input = f, .mask = mask};
    const Tensor y = tested().linear_residual(base.bf16, x.bf16, branch);
    const Tensor y32 = tested().linear_residual(base.f32, x.f32, branch);
    CHECK(y.dtype() == DType::bf16);
    CHECK(worst(y, y32) < 3 * kRounded);  // input, branch and sum are rounded
    const ConvGradients d = tested().linear_residual_backward(x.bf16, branch, dy.bf16, {}, false);
    const ConvGradients d32 = tested().linear_residual_backward(x.f32, branch, dy.f32, {}, false);
    CHECK(worst(d.dx, d32.dx) < 3 * kRounded);
    CHECK(d.dweight.dtype() == DType::f32);
    CHECK(worst(d.dweight, d32.dweight) < 3 * kRounded);
    check_parameter(d.dbias, d32.dbias);
  }
}
