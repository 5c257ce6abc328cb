// Batch norm with fixed statistics is y = x scale + shift per channel, and so can be folded into a
// neighbouring convolution's weight and bias.
#pragma once

#include "nn/conv.h"
#include "nn/norm.h"

namespace nextgrad {

struct Folded {
  Tensor weight, bias;
};

// One convolution that computes norm(conv(x)) with the running statistics.
Folded fold(const Conv2d& conv, const BatchNorm2d& norm);
Folded fold(const DepthwiseConv2d& conv, const BatchNorm2d& norm);
// One convolution that computes conv(norm(x)). Throws if the convolution pads: norm(x) is padded
// with 0 then, which is not norm(0), so no single bias would be right at the border.
Folded fold(const BatchNorm2d& norm, const Conv2d& conv);

}  // namespace nextgrad
