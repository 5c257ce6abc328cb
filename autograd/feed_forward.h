// A feed-forward branch whose hidden maps see their neighbours (Mix-FFN, Xie et al. 2021).
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// A 1x1 convolution to `hidden` channels, a depth-wise 3x3, GELU and a 1x1 convolution back.
struct FeedForwardVariables {
  Variable expand, expand_bias;      // [hidden, C], [hidden]
  Variable taps, taps_bias;          // [3, 3, hidden], [hidden]
  Variable contract, contract_bias;  // [O, hidden], [O]
};

// base + scale[c] (contract gelu(taps * (expand x))), biases included, in one pass whose hidden
// maps never leave the cache: x [N,H,W,C], base [N,H,W,O], scale [O] or undefined. For evaluation:
// throws where a gradient would have to be recorded (linear, depthwise_conv2d and linear_residual
// do that).
Variable feed_forward(const Variable& base, const Variable& x, const FeedForwardVariables& f,
                      const Variable& scale = {});

}  // namespace nextgrad
