// How kernels share [images, rows, c] out: a block's threads are (packs of N channels) x (rows); it
// takes a chunk of an image's rows, a thread some of these rows and the same channels in all of
// them, so that what belongs to a channel is loaded once. Neighbours in a warp read neighbouring
// packs, and whole rows follow one another.
#pragma once

#include <cstdint>

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {

struct ChannelPlan {
  std::int64_t images, rows, c;
  std::int64_t chunk, chunks;  // rows of a block, blocks that share an image's rows
  unsigned columns;            // blocks that share a row's channels
};
struct ChannelGrid {
  ChannelPlan plan;
  Grid grid;  // of (image * chunks + chunk) * columns + column
  std::int64_t blocks() const { return plan.images * plan.chunks; }
};

// A thread takes at most `most` rows, fewer where that would leave multiprocessors idle, a block at
// most `widest` packs of a row. `shared`: bytes of shared memory a thread. Images, rows and c must
// not be 0.
inline ChannelGrid channel_grid(const ImageRows& e, int pack, int most, std::size_t shared = 0,
                                std::int64_t widest = kThreads) {
  constexpr std::int64_t kBlocks = 4 * 132;
  const std::int64_t packs = e.c / pack;
  widest = std::min(widest, std::clamp<std::int64_t>(kThreads / e.rows, 32, kThreads));
  const std::int64_t columns = parts_of(packs, widest), x = parts_of(packs, columns);
  const std::int64_t y = std::clamp<std::int64_t>(kThreads / x, 1, e.rows);
  // Rounded up: a few blocks more than fit would be a round of their own.
  const std::int64_t each =
      std::clamp<std::int64_t>(parts_of(e.images * e.rows * columns, y * kBlocks), 1, most);
  ChannelGrid g{
      {e.images, e.rows, e.c, y * each, parts_of(e.rows, y * each), static_cast<unsigned>(columns)},
      {}};
  g.grid = {dim3(g.blocks() * columns), dim3(x, y), x * y * shared};
  return g;
}
// For a kernel that maps numbers.
inline ChannelGrid map_grid(const ImageRows& e, int pack) {
  return channel_grid(e, pack, 16);
}
// For one whose threads sum K numbers of each channel up, in T's arithmetic.
template <class T>
ChannelGrid sums_grid(const ImageRows& e, int pack, int k) {
  return channel_grid(e, pack, 32, k * pack * sizeof(Compute<T>));
}

// Where a thread is.
template <int N>
struct ChannelPlace {
  std::int64_t part, image;  // part = image * chunks + chunk
  std::int64_t first, last;  // the block's rows, counted in the image
  std::int64_t channel;
  bool inside;

  __device__ __forceinline__ explicit ChannelPlace(const ChannelPlan& p) {
    part = blockIdx.x / p.columns;
    image = part / p.chunks;
    first = (part - image * p.chunks) * p.chunk;
    last = first + p.chunk < p.rows ? first + p.chunk : p.rows;
    channel = (std::int64_t{blockIdx.x % p.columns} * blockDim.x + threadIdx.x) * N;
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

// Adds M numbers up over the block's rows of threads (threadIdx.y), pairwise and in a fixed order;
// the first row's threads get the result. `shared`: M numbers a thread, free again afterwards.
template <int M, class T>
__device__ __forceinline__ void combine_rows(T (&value)[M], T* shared) {
  const int threads = static_cast<int>(blockDim.x * blockDim.y);
  const int at = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(threadIdx.y);
  unroll<M>([&](int i) { shared[i * threads + at] = value[i]; });
  for (int n = static_cast<int>(blockDim.y); n > 1;) {
    const int half = (n + 1) / 2;
    __syncthreads();
    if (y + half < n) {
      unroll<M>([&](int i) {
        value[i] += shared[i * threads + at + half * static_cast<int>(blockDim.x)];
        shared[i * threads + at] = value[i];
      });
    }
    n = half;
  }
  __syncthreads();
}

// Leaves a thread's K sums of each of its N channels, added up over the block's rows:
// partials [parts, K, c], or those of K in rows of `all`.
template <int N, int M, class C>
__device__ __forceinline__ void leave_sums(const ChannelPlan& p, const ChannelPlace<N>& place,
                                           C (&sum)[M], C* partials, std::int64_t all = M / N) {
  combine_rows(sum, shared_memory<C>());
  if (threadIdx.y != 0 || !place.inside) return;
  C* to = partials + place.part * all * p.c + place.channel;
  unroll<M>([&](int i) { to[i / N * p.c + i % N] = sum[i]; });
}

}  // namespace nextgrad::cuda
