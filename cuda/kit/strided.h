// The device's side of tensor/strided.h: from the number of an element to its offset in each
// tensor.
#pragma once

#include <cstdint>

#include "cuda/kit/kernel.h"
#include "tensor/strided.h"

namespace nextgrad::cuda {

template <int K>
struct Walk : Strided<K> {
  std::int64_t count = 1;

  struct Offsets {
    std::int64_t of[K];
  };

  explicit Walk(const Strided<K>& s) : Strided<K>(s) {
    for (int a = 0; a < s.axes; ++a) count *= s.extent[a];
  }

  __device__ __forceinline__ Offsets offsets(std::int64_t i) const {
    Offsets result = {};
    for (int a = this->axes - 1; a > 0; --a) {
      // 64-bit division costs a GPU ten times as much as that of 32 bits.
      std::int64_t rest = 0;
      if (count < (std::int64_t{1} << 31)) {
        const auto n = static_cast<std::uint32_t>(i),
                   by = static_cast<std::uint32_t>(this->extent[a]);
        rest = n / by;
      } else {
        rest = i / this->extent[a];
      }
      const std::int64_t index = i - rest * this->extent[a];
      i = rest;
      unroll<K>([&](int k) { result.of[k] += index * this->stride[k][a]; });
    }
    unroll<K>([&](int k) { result.of[k] += i * this->stride[k][0]; });
    return result;
  }
};

}  // namespace nextgrad::cuda
