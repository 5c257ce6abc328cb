// Sums over many rows in two stages, so that their order is always the same: blocks leave partial
// sums of some rows each (leave_sums() in channels.h), and these are added in double, by the block
// that comes last or by a second kernel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda/kit/channels.h"
#include "tensor/tensor.h"

namespace nextgrad::cuda {

constexpr unsigned kArrivals = 1 << 14;  // counters that a backend has for last_to_arrive(), all 0

// The grid for kernels that end with finish_by_last(): K sums of each channel. Blocks of 128 bytes
// of a row, so that the last one has few partials to read.
template <class T>
ChannelGrid finished_grid(const ImageRows& e, int pack, int k) {
  const ChannelGrid g = channel_grid(e, pack, 32, k * pack * sizeof(double), 8);
  check(g.plan.columns <= kArrivals, "sums of {} channels: too many", e.c);
  return g;
}
// After leave_sums() by all blocks of a plan: the last one for its channels adds K sums of each up
// and calls fn(channel, totals[K]).
template <int K, int N, class C, class Fn>
__device__ __forceinline__ void finish_by_last(const ChannelPlan& p, const ChannelPlace<N>& place,
                                               const C* partials, unsigned* arrivals, Fn&& fn) {
  const std::int64_t parts = p.images * p.chunks;
  if (!last_to_arrive(arrivals + blockIdx.x % p.columns, static_cast<unsigned>(parts))) return;
  double total[K * N] = {};
  if (place.inside) {
#pragma unroll 2
    for (std::int64_t j = threadIdx.y; j < parts; j += blockDim.y)
      unroll<K, N>([&](int k, int i) {
        total[k * N + i] += static_cast<double>(partials[(j * K + k) * p.c + place.channel + i]);
      });
  }
  combine_rows(total, shared_memory<double>());
  if (threadIdx.y != 0 || !place.inside) return;
  unroll<N>([&](int i) {
    double of[K];
    unroll<K>([&](int k) { of[k] = total[k * N + i]; });
    fn(place.channel + i, of);
  });
}

// total[k] = the sum over j < n of partials[j, k, column]: for the first row of a block of 32
// columns x some rows of threads. `pitch`: from j to j + 1; `shared`: K doubles a thread.
template <int K, class T>
__device__ __forceinline__ void column_totals(const T* partials, std::int64_t n, std::int64_t pitch,
                                              std::int64_t columns, std::int64_t column,
                                              double (&total)[K]) {
  unroll<K>([&](int k) { total[k] = 0; });
  if (column < columns) {
#pragma unroll 4
    for (std::int64_t j = threadIdx.y; j < n; j += blockDim.y) {
      unroll<K>([&](int k) {
        total[k] += static_cast<double>(partials[j * pitch + k * columns + column]);
      });
    }
  }
  combine_rows(total, shared_memory<double>());
}
// The grid for it, `z` of them side by side.
template <int K>
Grid totals_grid(std::int64_t columns, std::int64_t n, std::int64_t z = 1) {
  const auto rows = static_cast<unsigned>(std::clamp<std::int64_t>(n, 1, 16));
  return {dim3(parts_of(columns, 32), z), dim3(32, rows), 32 * rows * K * sizeof(double)};
}

// Where some neighbouring columns' sums go.
struct ColumnSums {
  std::int64_t first;  // column
  Tensor to;           // contiguous; as many as it has numbers; undefined: nobody wants them
  // Rows of `size` columns of which only the first `kept` are wanted.
  int kept = 1, size = 1;
  bool add = false;  // to what is there
};
// Adds partials [n, ...] of parameters' dtype up over n, in one launch.
void add_partials(cudaStream_t stream, const Tensor& partials, const std::vector<ColumnSums>& sums);

// x [rows, columns] of activations, summed over rows: [columns] of parameter_dtype(x.dtype()).
Tensor column_sums(cudaStream_t stream, unsigned* arrivals, const Tensor& x);

}  // namespace nextgrad::cuda
