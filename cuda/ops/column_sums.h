// Sums over the rows of a matrix: gradients of biases.
#pragma once

#include "cuda/kit/runtime.h"
#include "tensor/tensor.h"

namespace nextgrad::cuda {

class CudaBackend;

// x [rows, columns], contiguous, f32, f64 or bf16 -> [columns] of parameter_dtype(x.dtype()). In
// two stages, so that the order of the sum is fixed: blocks sum some rows each, then their sums are
// added in double.
Tensor column_sums(CudaBackend& backend, cudaStream_t stream, const Tensor& x);

}  // namespace nextgrad::cuda
