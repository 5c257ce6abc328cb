// Means and variances of channels in two stages. First every block of a sums_grid() leaves, of its
// rows of each channel, the mean and the sum of squared deviations (M2): partials [images * chunks,
// 2, c] of parameter_dtype, which batch norm then combines in double. The first stage can be part
// of the kernel that makes the numbers:
//
//   Moments<Compute<T>, N> moments(shift);   // shift: these channels in the block's first row
//   place.for_rows(plan, [&](std::int64_t at) { ...; moments.add(v); });
//   moments.leave(plan, place, partials);    // all threads
#pragma once

#include "cuda/kit/channels.h"

namespace nextgrad::cuda {

// Sums of x - shift and its square over a thread's rows. All threads of a block must have the same
// shift, near the mean, so that the variance does not cancel.
template <class C, int N>
struct Moments {
  C shift[N], sum[2 * N] = {};

  __device__ __forceinline__ explicit Moments(const C (&shift_)[N]) {
    unroll<N>([&](int i) { shift[i] = shift_[i]; });
  }
  __device__ __forceinline__ void add(const C (&x)[N]) {
    unroll<N>([&](int i) {
      const C d = x[i] - shift[i];
      sum[i] += d;
      sum[N + i] += d * d;
    });
  }
  __device__ __forceinline__ void leave(const ChannelPlan& p, const ChannelPlace<N>& place,
                                        C* partials) {
    combine_rows(sum, shared_memory<C>());
    if (threadIdx.y != 0 || !place.inside) return;
    const C n = static_cast<C>(place.last - place.first);
    C* to = partials + place.part * 2 * p.c + place.channel;
    unroll<N>([&](int i) {
      const C mean = sum[i] / n, m2 = sum[N + i] - sum[i] * mean;
      to[i] = shift[i] + mean;
      to[p.c + i] = m2 > 0 || m2 != m2 ? m2 : C(0);
    });
  }
};

}  // namespace nextgrad::cuda
