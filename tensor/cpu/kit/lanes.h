// Loops over channels: one body for whole vectors and for the channels left over. Where channels
// are few (32 are four vectors) a loop that the compiler vectorises spends more on getting ready
// than on arithmetic.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tensor/cpu/kit/simd.h"

namespace nextgrad::cpu {

// V is Vec<T> or T itself.
template <class V, class T>
[[gnu::always_inline]] inline V get(const T* p) {
  if constexpr (std::is_same_v<V, T>) {
    return *p;
  } else {
    return load(p);
  }
}
template <class V, class T>
[[gnu::always_inline]] inline void put(T* p, V v) {
  if constexpr (std::is_same_v<V, T>) {
    *p = v;
  } else {
    store(p, v);
  }
}

// Calls fn(k, V{}) for k in [0, n): with V = Vec<T> where a whole vector is left, else with T.
template <class T, class Fn>
[[gnu::always_inline]] inline void for_lanes(std::int64_t n, Fn&& fn) {
  std::int64_t k = 0;
  for (; k + kLanes<T> <= n; k += kLanes<T>) fn(k, Vec<T>{});
  for (; k < n; ++k) fn(k, T{});
}

// Calls fn(first, n) for rows [begin, end), n being N (a std::integral_constant) while there are so
// many, then 1: rows that share the loads of their coefficients, or hide each other's latencies.
template <int N, class Fn>
[[gnu::always_inline]] inline void for_row_groups(std::int64_t begin, std::int64_t end, Fn&& fn) {
  std::int64_t r = begin;
  for (; r + N <= end; r += N) fn(r, std::integral_constant<int, N>{});
  for (; r < end; ++r) fn(r, std::integral_constant<int, 1>{});
}

// Calls fn(integral constant m) for the run-time m in [1, Most].
template <int Most, class Fn>
void with_constant(int m, Fn&& fn) {
  if (m == Most) return fn(std::integral_constant<int, Most>());
  if constexpr (Most > 1) with_constant<Most - 1>(m, fn);
}

// The sum of a vector's elements, by halves.
template <class T, int kBytes = kVectorBytes, class V = Vec<T>>
[[gnu::always_inline]] inline T lane_sum(V v) {
  if constexpr (kBytes == sizeof(T)) {
    return v[0];
  } else {
    typedef T Half __attribute__((vector_size(kBytes / 2)));
    Half low, high;
    std::memcpy(&low, &v, sizeof(low));
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof(low), sizeof(high));
    return lane_sum<T, kBytes / 2, Half>(low + high);
  }
}

}  // namespace nextgrad::cpu
