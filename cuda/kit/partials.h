// The second half of a sum over many pixels: blocks have left partial sums, and these are added in
// double, in an order that is always the same.
#pragma once

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

namespace nextgrad::cuda {
namespace {

constexpr int kPartialColumns = 32, kPartialLanes = 8;

// out[i] = sum over `rows` of partials[row * pitch + i]. A block takes 32 neighbouring sums; its
// warps share their rows.
template <class T>
__global__ void sum_partials(const T* partials, int rows, std::int64_t pitch, std::int64_t count,
                             T* out) {
  auto* sums = shared_memory<double>();  // [kPartialLanes][kPartialColumns]
  const int column = static_cast<int>(threadIdx.x) % kPartialColumns;
  const int lane = static_cast<int>(threadIdx.x) / kPartialColumns;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kPartialColumns + column;
  double sum = 0;
  if (i < count) {
#pragma unroll 4
    for (int row = lane; row < rows; row += kPartialLanes)
      sum += static_cast<double>(partials[row * pitch + i]);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (lane != 0 || i >= count) return;
  for (int other = 1; other < kPartialLanes; ++other) sum += sums[other * kPartialColumns + column];
  out[i] = static_cast<T>(sum);
}

template <class T>
void add_partials(cudaStream_t stream, const T* partials, int rows, std::int64_t pitch,
                  std::int64_t count, T* out) {
  if (count == 0) return;
  const Grid grid{dim3(static_cast<unsigned>((count + kPartialColumns - 1) / kPartialColumns)),
                  dim3(kPartialColumns * kPartialLanes),
                  sizeof(double) * kPartialColumns * kPartialLanes};
  launch("sum_partials", sum_partials<T>, grid, stream, partials, rows, pitch, count, out);
}

}  // namespace
}  // namespace nextgrad::cuda
