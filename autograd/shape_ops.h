// Views, casts, concatenation, gathering and the resizing of images.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

Variable reshape(const Variable& x, const Shape& shape);  // one extent may be -1
Variable slice(const Variable& x, int axis, std::int64_t begin, std::int64_t end,
               std::int64_t step = 1);
Variable permute(const Variable& x, const std::vector<int>& axes);
Variable transpose(const Variable& x, int a, int b);
Variable expand(const Variable& x, const Shape& shape);  // broadcast
Variable cast(const Variable& x, DType dtype);           // itself if it is of this dtype
Variable concat(const std::vector<Variable>& parts, int axis);
// out[..., i, ...] = x[..., index[..., i, ...], ...] along axis; index i64.
Variable gather(const Variable& x, int axis, const Tensor& index);
// x [N,H,W,C] -> [N,h,w,C]. Half-pixel centres and clamped borders as PyTorch's interpolate;
// align-corners on request.
Variable resize(const Variable& x, std::int64_t h, std::int64_t w, Resize mode = Resize::bilinear);
// Maps [N,h_i,w_i,C_i], resized to h x w, beside each other: [N,h,w,sum of C_i]. Waits to be fused
// (fuse.h).
Variable join_resized(const std::vector<Variable>& parts, std::int64_t h, std::int64_t w);

}  // namespace nextgrad
