// What the two passes of MSCA's strips share on the host; the kernels' own part is strips_march.h.
#pragma once

#include <vector>

#include "cuda/kit/runtime.h"
#include "tensor/backend.h"

namespace nextgrad::cuda {

// Whether these are MSCA's own strips, 7, 11 and 21 long, in f32 or bf16: the kernels of strips.cu
// and strips_backward.cu keep all their taps in registers. Others are composed of depth-wise
// convolutions.
bool fused_strips(const Tensor& x, const std::vector<Strip>& strips);

// y = x + sum over strips of column(row(x)), for fused strips. `transpose` turns all taps round and
// leaves biases out: then x is the gradient of the result and y that of the input, as rows and
// columns commute without a bias.
void run_strips(cudaStream_t stream, int processors, const Tensor& x,
                const std::vector<Strip>& strips, bool transpose, Tensor& y);

// Multiply-adds of a row and a column strip of every branch, twice.
double strips_flops(const Tensor& x, const std::vector<Strip>& strips);

}  // namespace nextgrad::cuda
