// SIMD in one place: GCC's vector extensions, as wide as the target allows. Kernels are written on
// Vec<T> with ordinary operators; the compiler makes AVX-512, AVX2, NEON or SSE of them.
#pragma once

#include <cstdint>

namespace nextgrad::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kVectorRegisters = 16;
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kVectorRegisters = 16;
#endif

template <class T>
struct VecOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VecOf<T>::type;
template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

// Unaligned loads and stores go through a vector type of T's alignment: with memcpy GCC 12 makes an
// integer load of it, and under register pressure passes the value through the stack.
template <class T>
struct UnalignedVecOf {
  typedef T type __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
inline Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename UnalignedVecOf<T>::type*>(p);
}
template <class T>
inline void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename UnalignedVecOf<T>::type*>(p) = v;
}
template <class T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};  // not 0 + x, which would turn -0 into +0 and so cost an addition
}

// to += from, in To. A function of its own because GCC 12 makes scalar gathers of such a loop where
// the pointers are a lambda's captures.
template <class To, class From>
inline void add_to(To* __restrict to, const From* __restrict from, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] += from[i];
}

// y = base + factor y.
template <class T>
inline void add_row(const T* __restrict base, T factor, T* __restrict y, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = base[i] + factor * y[i];
}

}  // namespace nextgrad::cpu
