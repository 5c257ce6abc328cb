// Convolution layers, channels last.
#pragma once

#include "autograd/conv.h"
#include "nn/module.h"

namespace nextgrad {

// A window padded so that stride 1 keeps the size; throws for an even kernel, which cannot.
Window same_window(int kernel, int stride = 1);  // kernel x kernel
Window same_window_2d(int kh, int kw);

struct Conv2dOptions {
  std::int64_t in_channels = 0, out_channels = 0;
  Window window = {};  // kernel, stride, padding, dilation
  int groups = 1;
  bool bias = true;
};

// x [N,H,W,in] -> [N,OH,OW,out]; parameters weight [out,kh,kw,in/groups] and bias [out]. A 1x1
// kernel of stride 1 runs as one matrix product. Throws unless groups divides both channel counts.
class Conv2d : public Module {
 public:
  explicit Conv2d(const Conv2dOptions& options);  // weight drawn by Init::fan_out
  Conv2d(const Conv2dOptions& options, const Init& weight_init);
  Variable forward(Variable x) const override;
  const Conv2dOptions& options() const { return options_; }

  Variable weight, bias;  // bias undefined without

 private:
  Conv2dOptions options_;
};

// 1x1 convolution.
inline Conv2dOptions pointwise(std::int64_t in, std::int64_t out, bool bias = true) {
  return {.in_channels = in, .out_channels = out, .bias = bias};
}

// One filter per channel: x [N,H,W,C] -> [N,OH,OW,C]; parameters weight [kh,kw,C], bias [C].
class DepthwiseConv2d : public Module {
 public:
  DepthwiseConv2d(std::int64_t channels, const Window& window);
  Variable forward(Variable x) const override {
    return depthwise_conv2d(std::move(x), weight, bias, window_);
  }

  Variable weight, bias;

 private:
  Window window_;
};

}  // namespace nextgrad
