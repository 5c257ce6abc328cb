// The feed-forward part of MSCAN's blocks.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// A 1x1 convolution to `hidden` channels, a depth-wise 3x3, GELU and a 1x1 convolution back.
struct FeedForwardVariables {
  Variable expand, expand_bias;      // [hidden, C], [hidden]
  Variable taps, taps_bias;          // [3, 3, hidden], [hidden]
  Variable contract, contract_bias;  // [O, hidden], [O]
};

// base + mask[n] scale[c] (contract gelu(taps * (expand x))), biases included: x [N,H,W,C], base
// [N,H,W,O], scale [O] and mask [N] or undefined. Where no gradient is recorded and there is no
// mask, it is one pass whose hidden maps never leave the cache.
Variable feed_forward(const Variable& base, const Variable& x, const FeedForwardVariables& f,
                      const Variable& scale, const Tensor& mask);

}  // namespace nextgrad
