// Image resizing, x [N,H,W,C] -> [N,h,w,C].
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// Half-pixel centres and clamped borders as PyTorch's interpolate; align-corners on request.
Variable resize(const Variable& x, std::int64_t h, std::int64_t w, Resize mode = Resize::bilinear);

}  // namespace nextgrad
