// From a thread's number to what it works on, without slow divisions.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

namespace nextgrad::cuda {

// n / divisor for n < 2^31 by a multiplication (Granlund and Montgomery, "Division by invariant
// integers using multiplication", 1994).
struct Divider {
  unsigned divisor, multiplier, shift;
  explicit Divider(std::int64_t d) : divisor(static_cast<unsigned>(d)), multiplier(0), shift(0) {
    while ((std::uint64_t{1} << shift) < divisor) ++shift;
    const std::uint64_t excess = (std::uint64_t{1} << shift) - divisor;
    multiplier = static_cast<unsigned>((excess << 32) / divisor + 1);
  }
  __device__ __forceinline__ int quotient(int n) const {
    const auto u = static_cast<unsigned>(n);
    return static_cast<int>((__umulhi(u, multiplier) + u) >> shift);
  }
  __device__ __forceinline__ int remainder(int n, int q) const {
    return n - q * static_cast<int>(divisor);
  }
};

// `rows` rows of `columns` pixels of `packs` packs of channels: a block works on a part of a row.
struct RowWork {
  std::int64_t rows;
  int columns, packs, parts;
  Divider by_packs;
  int threads;

  RowWork(std::int64_t rows_, std::int64_t columns_, std::int64_t packs_)
      : rows(rows_),
        columns(static_cast<int>(columns_)),
        packs(static_cast<int>(packs_)),
        parts(0),
        by_packs(std::max<std::int64_t>(packs_, 1)),
        threads(static_cast<int>(
            std::clamp<std::int64_t>((columns_ * packs_ + 31) / 32 * 32, 32, kThreads))) {
    parts = static_cast<int>((columns_ * packs_ + threads - 1) / threads);
  }
  Grid grid() const { return grid_for(rows * parts * threads, threads, 1 << 30); }
};

// Calls fn(row, column, pack) for this thread's share.
template <class Fn>
__device__ __forceinline__ void for_each_pack(const RowWork& work, Fn&& fn) {
  for (std::int64_t b = blockIdx.x; b < work.rows * work.parts; b += gridDim.x) {
    const std::int64_t row = b / work.parts;
    const int i = static_cast<int>(b - row * work.parts) * static_cast<int>(blockDim.x) +
                  static_cast<int>(threadIdx.x);
    if (i >= work.columns * work.packs) continue;
    const int column = work.by_packs.quotient(i);
    fn(row, column, work.by_packs.remainder(i, column));
  }
}

}  // namespace nextgrad::cuda
