// Convolutions: gradchecks over windows, strides, dilations, groups, odd sizes and batch of one.
#include "autograd/arithmetic.h"
#include "autograd/conv.h"
#include "autograd/matmul.h"
#include "autograd/shape_ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

TEST_CASE("conv2d") {
  struct Case {
    Shape x, w;
    Window window;
    int groups;
  };
  const std::vector<Case> cases = {
      {{2, 6, 7, 3}, {4, 3, 3, 3}, {.pad_h = 1, .pad_w = 1}, 1},
      {{1, 7, 5, 4}, {6, 3, 3, 2}, {.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1}, 2},
      {{2, 5, 9, 2}, {3, 2, 3, 2}, {.stride_h = 1, .stride_w = 3, .pad_h = 2, .pad_w = 0}, 1},
      {{1, 9, 8, 4}, {4, 3, 2, 1}, {.pad_h = 2, .pad_w = 1, .dilation_h = 2, .dilation_w = 3}, 4},
      {{1, 1, 1, 1}, {1, 1, 1, 1}, {}, 1},
      {{1, 3, 4, 2}, {3, 3, 4, 2}, {}, 1},
      {{2, 4, 4, 3}, {5, 1, 1, 3}, {.stride_h = 2, .stride_w = 2}, 1},
  };
  for (const Case& c : cases) {
    const Fn conv = [&](In in) {
      return conv2d(in[0], in[1], in.size() > 2 ? in[2] : Variable(), c.window, c.groups);
    };
    require_op(conv, {strided_leaf(c.x, 1), leaf(c.w, 2), leaf({c.w[0]}, 3)});
    require_op(conv, {leaf(c.x, 1), strided_leaf(c.w, 2)});
  }
}

TEST_CASE("conv2d wants fitting channels and windows, and says so") {
  const Variable x = leaf({1, 4, 4, 3}, 1);
  CHECK_THROWS_WITH_AS(conv2d(x, leaf({64, 3, 3, 4}, 2)),
                       doctest::Contains("input has 3 channels, weight wants 4"), Error);
  CHECK_THROWS_AS(conv2d(x, leaf({2, 5, 5, 3}, 2)), Error);
  CHECK_THROWS_AS(conv2d(x, leaf({3, 3, 3, 1}, 2), {}, {}, 2), Error);
  CHECK_THROWS_AS(conv2d(x, leaf({2, 3, 3, 3}, 2), leaf({3}, 3)), Error);
  CHECK_THROWS_AS(conv2d(x, leaf({2, 3, 3, 3}, 2), {}, {.stride_h = 0}), Error);
}

TEST_CASE("1x1 convolution is linear, its epilogue the activation") {
  const Variable x = leaf({2, 3, 5, 4}, 4), w = leaf({6, 1, 1, 4}, 5), b = leaf({6}, 6);
  const auto matrix = [](const Variable& v) { return reshape(v, {6, 4}); };
  CHECK(difference(linear(x, matrix(w), b).value(), conv2d(x, w, b).value()) < 1e-13);
  CHECK(difference(linear(x, matrix(w), b, Activation::gelu).value(),
                   gelu(conv2d(x, w, b)).value()) < 1e-13);
  require_op([&](In in) { return linear(in[0], matrix(in[1]), in[2], Activation::gelu); },
             {x, w, b});
}

TEST_CASE("depth-wise convolution") {
  struct Case {
    Shape x;
    int kh, kw;
    Window window;
  };
  const std::vector<Case> cases = {
      {{2, 6, 7, 3}, 3, 3, {.pad_h = 1, .pad_w = 1}},
      {{1, 5, 40, 17}, 1, 21, {.pad_w = 10}},
      {{1, 40, 3, 5}, 21, 1, {.pad_h = 10}},
      {{1, 4, 3, 33}, 1, 7, {.pad_w = 3}},
      {{1, 3, 4, 8}, 11, 1, {.pad_h = 5}},
      {{1, 1, 1, 1}, 5, 5, {.pad_h = 2, .pad_w = 2}},
      {{1, 9, 8, 2}, 3, 2, {.stride_h = 2, .stride_w = 3, .pad_h = 1, .pad_w = 2}},
      {{1, 9, 8, 9}, 3, 3, {.pad_h = 2, .pad_w = 0, .dilation_h = 2, .dilation_w = 2}},
      {{1, 4, 4, 3}, 2, 2, {.pad_h = 3, .pad_w = 3}},
  };
  for (const Case& c : cases) {
    const std::int64_t channels = c.x[3];
    const Variable w = leaf({c.kh, c.kw, channels}, 8), b = leaf({channels}, 9);
    const Fn conv = [&](In in) { return depthwise_conv2d(in[0], in[1], in[2], c.window); };
    require_op(conv, {strided_leaf(c.x, 7), w, b});
    // Accumulating into a base is the sum of both.
    const Variable x = leaf(c.x, 7), plain = conv({x, w, b});
    const Variable base = leaf(plain.shape(), 10);
    const Fn onto = [&](In in) { return depthwise_conv2d(in[0], in[1], in[2], c.window, in[3]); };
    require_op(onto, {x, w, b, base});
    CHECK(difference(onto({x, w, b, base}).value(), (plain + base).value()) < 1e-13);
    // And it is the grouped convolution.
    const Variable grouped = permute(reshape(w, {c.kh, c.kw, channels, 1}), {2, 0, 1, 3});
    CHECK(difference(plain.value(),
                     conv2d(x, grouped, b, c.window, static_cast<int>(channels)).value()) < 1e-13);
  }
  CHECK_THROWS_AS(depthwise_conv2d(leaf({1, 4, 4, 3}, 1), leaf({3, 3, 4}, 2)), Error);
}
