// Arithmetic on tensors, for whoever computes without a graph: backwards, inference, the default
// compositions of fused ops (fused.h). Broadcasts by NumPy's rule, takes any strides and gives new
// contiguous tensors. Throws unless both sides are of one floating dtype on one device, with
// shapes that broadcast.
#pragma once

#include <vector>

#include "tensor/backend.h"

namespace nextgrad {

Tensor operator+(const Tensor& a, const Tensor& b);
Tensor operator-(const Tensor& a, const Tensor& b);
Tensor operator*(const Tensor& a, const Tensor& b);
Tensor operator/(const Tensor& a, const Tensor& b);
Tensor operator+(const Tensor& x, double c);
Tensor operator*(const Tensor& x, double c);
Tensor operator-(const Tensor& x);

// Elementwise ops by their names in the table (elementwise.h), and dL/dx for dy = dL/dy, where
// `read` is x or f(x) as the table says.
Tensor apply(Unary op, const Tensor& x, double alpha = 0);
Tensor slope_times(Unary op, const Tensor& read, const Tensor& dy, double alpha = 0);
inline Tensor exp(const Tensor& x) {
  return apply(Unary::exp, x);
}
inline Tensor sqrt(const Tensor& x) {
  return apply(Unary::sqrt, x);
}
inline Tensor rsqrt(const Tensor& x) {
  return apply(Unary::rsqrt, x);
}
inline Tensor square(const Tensor& x) {
  return apply(Unary::square, x);
}

// Over the given axes (sorted, distinct), which stay as extent 1.
Tensor sum(const Tensor& x, const std::vector<int>& axes);
Tensor mean(const Tensor& x, const std::vector<int>& axes);
Tensor softmax(const Tensor& x);  // over the last axis
// The gradient of a broadcast: the sum over the axes that `shape` does not have or has as 1.
Tensor sum_to(const Tensor& x, const Shape& shape);

bool all_finite(const Tensor& x);  // waits for the device

// [M,K] x [K,N], or batches [B,M,K] x [B,K,N] where a batch of 1 is broadcast; `transpose_*` reads
// the last two axes of that side swapped.
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);

}  // namespace nextgrad
