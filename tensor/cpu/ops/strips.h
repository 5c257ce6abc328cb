// Kernels of MSCA's multi-scale strips, used by strips.cpp.
#pragma once

#include <cstdint>
#include <vector>

namespace nextgrad::cpu {

struct StripsShape {
  std::int64_t n, h, w, c;
};

// One branch: row [k,C], its bias [C] or null, column [k,C], its bias or null.
template <class T>
struct StripOf {
  int k;
  T *row, *row_bias, *column, *column_bias;
};

// y = x + sum over branches of column(row(x)).
template <class T>
void strips_forward(const StripsShape& s, const std::vector<StripOf<const T>>& strips, const T* x,
                    T* y);
// dx and the gradients of every branch; null biases of `gradients` are left out.
template <class T>
void strips_backward(const StripsShape& s, const std::vector<StripOf<const T>>& strips, const T* x,
                     const T* dy, T* dx, const std::vector<StripOf<T>>& gradients);

}  // namespace nextgrad::cpu
