// Kernels that reduce each of many rows of n numbers: a team of 1 to 32 lanes of a warp takes a
// row, or a whole block a long one. Blocks are of kThreads threads.
#pragma once

#include <cstdint>

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

namespace nextgrad::cuda {

// Threads that share a row of n items.
inline int team_lanes(std::int64_t n) {
  if (n > 1024) return kThreads;
  int lanes = 1;
  while (lanes < 32 && lanes < n) lanes *= 2;
  return lanes;
}
inline Grid team_grid(std::int64_t rows, int lanes, std::int64_t most = 1 << 20) {
  return {grid_for(rows, kThreads / lanes, most).blocks, dim3(kThreads)};
}

// The loop over rows: all threads of a block make the same rounds, so that they may meet; those
// past the end have row >= rows.
struct TeamRows {
  int lanes, lane;
  std::int64_t row, first, step;
  __device__ __forceinline__ explicit TeamRows(int lanes_)
      : lanes(lanes_), lane(static_cast<int>(threadIdx.x) % lanes_) {
    const int teams = kThreads / lanes;
    first = static_cast<std::int64_t>(blockIdx.x) * teams;
    step = static_cast<std::int64_t>(gridDim.x) * teams;
    row = first + static_cast<int>(threadIdx.x) / lanes;
  }
  __device__ __forceinline__ bool more(std::int64_t rows) const { return first < rows; }
  __device__ __forceinline__ void next() {
    first += step;
    row += step;
  }
  // Combines a value over the row's team; each of its threads gets the result. `scratch`: 32
  // elements of shared memory.
  template <class T, class Op = Sum>
  __device__ __forceinline__ T combine(T value, T* scratch, Op op = {}) const {
    if (lanes > 32) return block_reduce(value, scratch, op);
    for (int step = lanes / 2; step > 0; step /= 2)
      value = op(value, __shfl_xor_sync(kAllLanes, value, step));
    return value;
  }
};

}  // namespace nextgrad::cuda
