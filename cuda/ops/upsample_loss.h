// Cross entropy of bilinearly upsampled logits: what its two directions share. Both must blend a
// pixel's logits by the same operations, so that e^(v - log_sum) is a probability even where logits
// are large.
#pragma once

#include <cstdint>

#include "cuda/kit/taps.h"
#include "cuda/ops/loss.h"

namespace nextgrad::cuda {

struct LossShape {
  std::int64_t n, h, w, oh, ow;
  int k;
  Axis rows, columns;

  LossShape(const Tensor& logits, const Tensor& labels)
      : n(logits.dim(0)),
        h(logits.dim(1)),
        w(logits.dim(2)),
        oh(labels.dim(1)),
        ow(labels.dim(2)),
        k(static_cast<int>(logits.dim(3))),
        rows(axis_of(h, oh, Resize::bilinear)),
        columns(axis_of(w, ow, Resize::bilinear)) {}
};

// a at t = 0, b at t = 1.
template <class C>
__device__ __forceinline__ C blend(C a, C b, C t) {
  return std::fma(t, b - a, a);
}

}  // namespace nextgrad::cuda
