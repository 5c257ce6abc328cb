// How kernels share [images, rows, c] out: a block's threads are (packs of N channels) x (rows); it
// takes a chunk of an image's rows, a thread some of these rows and the same channels in all of
// them, so that what belongs to a channel is loaded once. Neighbours in a warp read neighbouring
// packs, and whole rows follow one another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

namespace nextgrad::cuda {

struct ChannelPlan {
  std::int64_t images, rows, c;
  std::int64_t chunk, chunks;  // rows of a block, blocks that share an image's rows
  unsigned first = 0;          // of the blocks of channels, where a launch does not take all
};
struct ChannelGrid {
  ChannelPlan plan;
  Grid grid;  // x: image * chunks + chunk, y: blocks of channels
  std::int64_t blocks() const { return plan.images * plan.chunks; }
};

// A thread takes at most `most` rows, fewer where that would leave multiprocessors idle. `shared`:
// bytes of shared memory a thread. Images, rows and c must not be 0.
inline ChannelGrid channel_grid(std::int64_t images, std::int64_t rows, std::int64_t c, int pack,
                                int most, std::size_t shared = 0) {
  constexpr std::int64_t kBlocks = 4 * 132;
  const std::int64_t packs = c / pack;
  const std::int64_t widest = std::clamp<std::int64_t>(kThreads / rows, 32, kThreads);
  const std::int64_t columns = (packs + widest - 1) / widest;
  const std::int64_t x = (packs + columns - 1) / columns;
  const std::int64_t y = std::clamp<std::int64_t>(kThreads / x, 1, rows);
  const std::int64_t each =
      std::clamp<std::int64_t>(images * rows * columns / (y * kBlocks), 1, most);
  ChannelGrid g{{images, rows, c, y * each, (rows + y * each - 1) / (y * each)}, {}};
  g.grid = {dim3(static_cast<unsigned>(g.blocks()), static_cast<unsigned>(columns)),
            dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)),
            static_cast<std::size_t>(x * y) * shared};
  return g;
}

// Whether packs of 16 bytes fit: c channels, and each address (null: not used).
template <class T, class... Pointers>
bool packs_fit(std::int64_t c, const Pointers*... at) {
  return c % kPack<T> == 0 && ((reinterpret_cast<std::uintptr_t>(at) % 16 == 0) && ...);
}
// Calls fn with the pack's width as a std::integral_constant: 16 bytes if `wide`, else one number.
template <class T, class Fn>
decltype(auto) with_pack(bool wide, Fn&& fn) {
  if (wide) return fn(std::integral_constant<int, kPack<T>>{});
  return fn(std::integral_constant<int, 1>{});
}

// Where a thread is.
template <int N>
struct ChannelPlace {
  std::int64_t image, first, last;  // the block's rows, counted in the image
  std::int64_t channel;
  bool inside;

  __device__ __forceinline__ explicit ChannelPlace(const ChannelPlan& p) {
    image = blockIdx.x / p.chunks;
    first = (blockIdx.x - image * p.chunks) * p.chunk;
    last = first + p.chunk < p.rows ? first + p.chunk : p.rows;
    channel = (static_cast<std::int64_t>(p.first + blockIdx.y) * blockDim.x + threadIdx.x) * N;
    inside = channel < p.c;
  }
  // Of this thread's channels in a row of the image, from the tensor's start.
  __device__ __forceinline__ std::int64_t at(const ChannelPlan& p, std::int64_t row) const {
    return (image * p.rows + row) * p.c + channel;
  }
  // Calls fn(offset) for each row of this thread.
  template <class Fn>
  __device__ __forceinline__ void for_rows(const ChannelPlan& p, Fn&& fn) const {
    if (!inside) return;
    const std::int64_t step = blockDim.y * p.c;
    std::int64_t offset = at(p, first + threadIdx.y);
    const int n = static_cast<int>(last - first);
#pragma unroll 4
    for (int r = static_cast<int>(threadIdx.y); r < n; r += static_cast<int>(blockDim.y)) {
      fn(offset);
      offset += step;
    }
  }
};

// Combines M numbers over the block's rows of threads (threadIdx.y), pairwise and in a fixed order;
// the first row's threads get the result. `shared`: M numbers a thread, free again afterwards.
template <int M, class T, class Op = Sum>
__device__ __forceinline__ void combine_rows(T (&value)[M], T* shared, Op op = {}) {
  const int threads = static_cast<int>(blockDim.x * blockDim.y);
  const int at = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(threadIdx.y);
#pragma unroll
  for (int i = 0; i < M; ++i) shared[i * threads + at] = value[i];
  for (int n = static_cast<int>(blockDim.y); n > 1;) {
    const int half = (n + 1) / 2;
    __syncthreads();
    if (y + half < n) {
#pragma unroll
      for (int i = 0; i < M; ++i) {
        value[i] = op(value[i], shared[i * threads + at + half * static_cast<int>(blockDim.x)]);
        shared[i * threads + at] = value[i];
      }
    }
    n = half;
  }
  __syncthreads();
}

// Adds partial sums up in double, in order: a block of 32 channels x 16 rows of threads, and the
// first row's threads get total[k] = sum over j of partials[j, k, channel], j < n.
// `shared`: K doubles a thread.
template <int K, class T>
__device__ __forceinline__ void column_totals(const T* partials, std::int64_t n, std::int64_t c,
                                              std::int64_t channel, double* shared,
                                              double (&total)[K]) {
#pragma unroll
  for (int k = 0; k < K; ++k) total[k] = 0;
  if (channel < c) {
#pragma unroll 4
    for (std::int64_t j = threadIdx.y; j < n; j += blockDim.y) {
#pragma unroll
      for (int k = 0; k < K; ++k)
        total[k] += static_cast<double>(partials[(j * K + k) * c + channel]);
    }
  }
  combine_rows(total, shared);
}
// The grid for it, `z` of them side by side.
template <int K>
Grid totals_grid(std::int64_t c, std::int64_t z = 1) {
  return {dim3(static_cast<unsigned>((c + 31) / 32), static_cast<unsigned>(z)), dim3(32, 16),
          32 * 16 * K * sizeof(double)};
}

// to_k[channel] = sum of partials [n, K, c], K vectors of parameters.
template <int K, class T>
__global__ void sum_partials(const T* partials, std::int64_t n, std::int64_t c, T* to_0, T* to_1) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * 32 + threadIdx.x;
  double total[K];
  column_totals(partials, n, c, channel, shared_memory<double>(), total);
  if (threadIdx.y != 0 || channel >= c) return;
  to_0[channel] = static_cast<T>(total[0]);
  if constexpr (K > 1) to_1[channel] = static_cast<T>(total[1]);
}

}  // namespace nextgrad::cuda
