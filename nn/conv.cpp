#include "nn/conv.h"

#include "autograd/matmul.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

Window same_window(int kernel, int stride) {
  Window window = same_window_2d(kernel, kernel);
  window.stride_h = window.stride_w = stride;
  return window;
}

Window same_window_2d(int kh, int kw) {
  check(kh > 0 && kw > 0 && kh % 2 == 1 && kw % 2 == 1,
        "same_window: a {}x{} kernel cannot keep the size; both must be odd", kh, kw);
  return {.kh = kh, .kw = kw, .pad_h = kh / 2, .pad_w = kw / 2};
}

namespace {

bool is_pointwise(const Conv2dOptions& o) {
  const Window& w = o.window;
  return w.kh == 1 && w.kw == 1 && w.stride_h == 1 && w.stride_w == 1 && w.pad_h == 0 &&
         w.pad_w == 0 && o.groups == 1;
}

}  // namespace

Conv2d::Conv2d(const Conv2dOptions& o)
    : Conv2d(o, Init::fan_out(o.window.kh, o.window.kw, o.out_channels, o.groups)) {}

Conv2d::Conv2d(const Conv2dOptions& o, const Init& weight_init) : options_(o) {
  check(o.groups >= 1 && o.in_channels % o.groups == 0 && o.out_channels % o.groups == 0,
        "Conv2d: {} groups must divide {} input and {} output channels", o.groups, o.in_channels,
        o.out_channels);
  const Shape shape{o.out_channels, o.window.kh, o.window.kw, o.in_channels / o.groups};
  weight = parameter("weight", shape, weight_init, Layout::conv);
  if (o.bias) bias = parameter("bias", {o.out_channels}, Init::constant(0));
}

Variable Conv2d::forward(Variable x) const {
  check(x.ndim() == 4, "Conv2d: the input must be [N,H,W,C], got {}", x.shape());
  if (!is_pointwise(options_)) return conv2d(x, weight, bias, options_.window, options_.groups);
  const Variable matrix = reshape(weight, {options_.out_channels, options_.in_channels});
  return linear(std::move(x), matrix, bias);
}

DepthwiseConv2d::DepthwiseConv2d(std::int64_t channels, const Window& window) : window_(window) {
  weight = parameter("weight", {window.kh, window.kw, channels},
                     Init::fan_out(window.kh, window.kw, channels, channels), Layout::depthwise);
  bias = parameter("bias", {channels}, Init::constant(0));
}

}  // namespace nextgrad
