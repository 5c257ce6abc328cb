// Convolutions, channels last.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// x [N,H,W,I], weight [O,kh,kw,I/groups], bias [O] or undefined -> [N,OH,OW,O]. kh and kw of
// `window` are taken from the weight. Zero padding. Throws on mismatched channels or a window
// larger than the padded input. Waits to be fused (fuse.h).
Variable conv2d(Variable x, const Variable& weight, const Variable& bias = {}, Window window = {},
                int groups = 1);
Variable conv2d_at_once(const Variable& x, const Variable& weight, const Variable& bias,
                        const Window& window, int groups);
// y = depthwise(x) + bias: x [N,H,W,C], weight [kh,kw,C]. Waits to be fused (fuse.h); with a base,
// like the output or undefined (0), y = base + depthwise(x) + bias is computed at once.
Variable depthwise_conv2d(Variable x, const Variable& weight, const Variable& bias = {},
                          Window window = {});
Variable depthwise_conv2d(const Variable& x, const Variable& weight, const Variable& bias,
                          Window window, const Variable& base);

}  // namespace nextgrad
