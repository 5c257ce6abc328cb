// Depth-wise convolution for other files of cuda/ that fuse something with it.
#pragma once

#include "cuda/kit/runtime.h"
#include "tensor/backend.h"

namespace nextgrad::cuda {

struct DepthwiseShape {
  std::int64_t n;
  int h, w, c, oh, ow;
  Window window;
};
DepthwiseShape depthwise_shape(const Tensor& x, const Window& window);

// y = base + activation(depthwise(x, weight) + bias); base and bias may be undefined. The window
// must have 3 x 3 taps, stride and dilation 1 if the activation is GELU.
void depthwise_forward(cudaStream_t stream, const Tensor& x, const Tensor& weight,
                       const Tensor& bias, const Tensor& base, const Window& window,
                       Activation activation, Tensor& y);

}  // namespace nextgrad::cuda
