// Products, linear layers, convolution, resizing and pooling of bf16 activations.
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

TEST_CASE("bf16: the end of a residual branch") {
  const Rounded x = rounded({3, 5, 16}, 1), base = rounded({3, 5, 8}, 2),
                dy = rounded({3, 5, 8}, 3);
  const Tensor w = rounded({8, 16}, 4).f32, bias = random_tensor<float>({8}, 5);
  const Tensor mask = Tensor::from(std::vector<float>{2, 0, 1}, {3}, test_device());
  for (const Activation f : {Activation::none, Activation::gelu, Activation::relu}) {
    const Tensor y = tested().linear_residual(base.bf16, x.bf16, w, bias, f, mask);
    const Tensor y32 = tested().linear_residual(base.f32, x.f32, w, bias, f, mask);
    CHECK(y.dtype() == DType::bf16);
    CHECK(worst(y, numbers(y32)) < 3 * kRounded);  // input, branch and sum are rounded
    const ConvGradients d = tested().linear_residual_backward(x.bf16, w, f, mask, dy.bf16, {});
    const ConvGradients d32 = tested().linear_residual_backward(x.f32, w, f, mask, dy.f32, {});
    CHECK(worst(d.dx, numbers(d32.dx)) < 3 * kRounded);
    CHECK(d.dweight.dtype() == DType::f32);
    CHECK(worst(d.dweight, numbers(d32.dweight)) < 3 * kRounded);
    check_parameter(d.dbias, d32.dbias);
  }
}

TEST_CASE("bf16: convolution") {
  const Window window{.kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1};
  for (const int groups : {1, 2}) {
    const Rounded x = rounded({2, 9, 8, 6}, 1), dy = rounded({2, 5, 4, 8}, 2);
    const Tensor w = rounded({8, 3, 3, 6 / groups}, 3).f32, bias = random_tensor<float>({8}, 4);
    check_activation(tested().conv2d(x.bf16, w, bias, window, groups),
                     tested().conv2d(x.f32, w, bias, window, groups));
    const ConvGradients d = tested().conv2d_backward(x.bf16, w, dy.bf16, window, groups, {});
    const ConvGradients d32 = tested().conv2d_backward(x.f32, w, dy.f32, window, groups, {});
    CHECK(worst(d.dx, numbers(d32.dx)) < 3 * kRounded);  // the patches' gradients are rounded too
    check_parameter(d.dweight, d32.dweight);
    check_parameter(d.dbias, d32.dbias);
  }
}

TEST_CASE("bf16: resizing and pooling") {
  const Rounded x = rounded({2, 5, 6, 8}, 1), dy = rounded({2, 11, 9, 8}, 2);
  for (const Resize mode : {Resize::bilinear, Resize::bilinear_align_corners, Resize::nearest}) {
    check_activation(tested().resize(x.bf16, 11, 9, mode), tested().resize(x.f32, 11, 9, mode));
    check_activation(tested().resize_backward({2, 5, 6, 8}, dy.bf16, mode),
                     tested().resize_backward({2, 5, 6, 8}, dy.f32, mode));
  }
  CHECK(numbers(tested().resize_argmax(x.bf16, 11, 9)) ==
        numbers(tested().resize_argmax(x.f32, 11, 9)));
  const Window window{.kh = 2, .kw = 3, .stride_h = 2, .stride_w = 1};
  Tensor indices, indices32;
  check_activation(tested().max_pool(x.bf16, window, indices),
                   tested().max_pool(x.f32, window, indices32));
  CHECK(numbers(indices) == numbers(indices32));
  check_activation(tested().average_pool(x.bf16, window, true),
                   tested().average_pool(x.f32, window, true));
}
