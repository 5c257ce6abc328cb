// Cross entropy of bilinearly upsampled logits: what its two directions share. Both must blend a
// pixel's logits by the same operations, so that e^(v - log_sum) is a probability even where logits
// are large.
#pragma once

#include <cstdint>

#include "cuda/kit/taps.h"
#include "tensor/backend.h"

namespace nextgrad::cuda {

struct LossShape {
  std::int64_t n, h, w, oh, ow;
  int k;
  long long ignore;
  double hot, smooth;  // the target: `hot` on the label and `smooth` on every class, times weights
  Axis rows, columns;

  LossShape(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o)
      : n(logits.dim(0)),
        h(logits.dim(1)),
        w(logits.dim(2)),
        oh(labels.dim(1)),
        ow(labels.dim(2)),
        k(static_cast<int>(logits.dim(3))),
        ignore(o.ignore_label),
        hot(1 - o.label_smoothing),
        smooth(o.label_smoothing / static_cast<double>(k)),
        rows(axis_of(h, oh, Resize::bilinear)),
        columns(axis_of(w, ow, Resize::bilinear)) {}
};

inline double loss_work(const Tensor& labels, std::int64_t k) {
  return 6.0 * static_cast<double>(labels.numel()) * static_cast<double>(k);
}

template <class C>
__device__ __forceinline__ C multiply_add(C a, C b, C c) {
  if constexpr (std::is_same_v<C, float>)
    return fmaf(a, b, c);
  else
    return fma(a, b, c);
}

// a at t = 0, b at t = 1.
template <class C>
__device__ __forceinline__ C blend(C a, C b, C t) {
  return multiply_add(t, b - a, a);
}

}  // namespace nextgrad::cuda
