// Means and variances of channels in two stages. First every block of a channel_grid leaves, of its
// rows of each channel, the mean and the sum of squared deviations (M2): partials [images * chunks,
// 2, c] of parameter_dtype. Then finish_statistics() combines them in double. The first stage can
// be part of the kernel that makes the numbers:
//
//   Moments<Compute<T>, N> moments(shift);   // shift: these channels in the block's first row
//   place.for_rows(plan, [&](std::int64_t at) { ...; moments.add(v); });
//   moments.leave(plan, place, shared_memory<Compute<T>>(), partials);   // all threads
#pragma once

#include "cuda/kit/channels.h"
#include "tensor/tensor.h"

namespace nextgrad::cuda {

// Rows that a thread sums up in T, and bytes of shared memory a thread.
constexpr int kMomentRows = 32;
template <class T>
constexpr std::size_t moments_shared(int pack) {
  return 2 * static_cast<std::size_t>(pack) * sizeof(Compute<T>);
}

// The blocks of both stages.
template <class T>
ChannelGrid moments_grid(std::int64_t images, std::int64_t rows, std::int64_t c, int pack) {
  return channel_grid(images, rows, c, pack, kMomentRows, moments_shared<T>(pack));
}

// Sums of x - shift and its square over a thread's rows. All threads of a block must have the same
// shift, near the mean, so that the variance does not cancel.
template <class C, int N>
struct Moments {
  C shift[N], sum[2 * N];

  __device__ __forceinline__ explicit Moments(const C (&shift_)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      shift[i] = shift_[i];
      sum[i] = sum[N + i] = 0;
    }
  }
  __device__ __forceinline__ void add(const C (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const C d = x[i] - shift[i];
      sum[i] += d;
      sum[N + i] += d * d;
    }
  }
  __device__ __forceinline__ void leave(const ChannelPlan& p, const ChannelPlace<N>& place,
                                        C* shared, C* partials) {
    combine_rows(sum, shared);
    if (threadIdx.y != 0 || !place.inside) return;
    const C n = static_cast<C>(place.last - place.first);
    C* to = partials + static_cast<std::int64_t>(blockIdx.x) * 2 * p.c + place.channel;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const C mean = sum[i] / n, m2 = sum[N + i] - sum[i] * mean;
      to[i] = shift[i] + mean;
      to[p.c + i] = m2 > 0 || m2 != m2 ? m2 : C(0);
    }
  }
};

// mean and rstd [c] from the partials of one image's (the whole batch's) channels.
void finish_statistics(const Tensor& partials, const ChannelPlan& plan, double eps, Tensor& mean,
                       Tensor& rstd, cudaStream_t stream);

}  // namespace nextgrad::cuda
