// The residual block's fused ops.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// x + mask[n] * scale[c] * branch: residual connection with layer scale [C] (or undefined) and
// drop path (mask [N], 0 or 1 / keep, or undefined). `moments`: see Backend::residual.
Variable residual(const Variable& x, const Variable& branch, const Variable& scale = {},
                  const Tensor& mask = {}, Tensor* moments = nullptr);
// mask[n] * x, mask [N] constant: drop path. Waits to be fused (fuse.h).
Variable scale_images(Variable x, const Tensor& mask);
// x * mask, mask broadcast and constant: dropout ([N,H,W,C]) and channel dropout ([N,1,1,C]).
Variable apply_mask(const Variable& x, const Tensor& mask);

}  // namespace nextgrad
