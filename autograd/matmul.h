// Matrix products and linear layers.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// [M,K] x [K,N] or batched [B,M,K] x [B,K,N] (a batch of 1 is broadcast); `transpose_*` reads the
// last two axes of that input swapped.
Variable matmul(const Variable& a, const Variable& b, bool transpose_a = false,
                bool transpose_b = false);
// y = x W^T + bias: x [..., I], weight [O, I], bias [O] or undefined -> [..., O]. Waits to be fused
// (fuse.h); with an activation, even none, y = activation(x W^T + bias) is computed at once.
Variable linear(Variable x, const Variable& weight, const Variable& bias = {});
Variable linear(const Variable& x, const Variable& weight, const Variable& bias,
                Activation activation);

}  // namespace nextgrad
