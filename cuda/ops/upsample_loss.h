// Cross entropy of bilinearly upsampled logits: what its two directions share. Both must blend a
// pixel's logits by the same operations, so that e^(v - log_sum) is a probability even where logits
// are large.
#pragma once

#include "cuda/kit/taps.h"
#include "cuda/ops/loss.h"

namespace nextgrad::cuda {

// a at t = 0, b at t = 1.
template <class C>
__device__ __forceinline__ C blend(C a, C b, C t) {
  return std::fma(t, b - a, a);
}

}  // namespace nextgrad::cuda
