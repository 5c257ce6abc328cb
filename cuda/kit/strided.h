// The device's side of tensor/strided.h: from the number of an element to its offset in each
// tensor.
#pragma once

#include <cstdint>

#include "cuda/kit/kernel.h"
#include "tensor/strided.h"

namespace nextgrad::cuda {

// Plain data, so that it can be a kernel's argument.
template <int K>
struct Walk {
  std::int64_t count = 1;
  int axes = 0;
  std::int64_t extent[Shape::kMaxAxes] = {};
  std::int64_t stride[K][Shape::kMaxAxes] = {};

  struct Offsets {
    std::int64_t of[K];
  };

  explicit Walk(const Strided<K>& s) : axes(s.axes) {
    for (int a = 0; a < axes; ++a) {
      const auto at = static_cast<std::size_t>(a);
      extent[a] = s.extent[at];
      count *= extent[a];
      for (int k = 0; k < K; ++k) stride[k][a] = s.stride[static_cast<std::size_t>(k)][at];
    }
  }

  __device__ __forceinline__ Offsets offsets(std::int64_t i) const {
    Offsets result = {};
    for (int a = axes - 1; a > 0; --a) {
      // 64-bit division costs a GPU ten times as much as that of 32 bits.
      std::int64_t rest = 0;
      if (count < (std::int64_t{1} << 31)) {
        const auto n = static_cast<std::uint32_t>(i), by = static_cast<std::uint32_t>(extent[a]);
        rest = n / by;
      } else {
        rest = i / extent[a];
      }
      const std::int64_t index = i - rest * extent[a];
      i = rest;
      unroll<K>([&](int k) { result.of[k] += index * stride[k][a]; });
    }
    unroll<K>([&](int k) { result.of[k] += i * stride[k][0]; });
    return result;
  }
};

}  // namespace nextgrad::cuda
