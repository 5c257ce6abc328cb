// Which source positions an output position of a resize reads along one axis, and which outputs
// read a source position: in whole numbers, so that both directions agree.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/kit/kernel.h"
#include "tensor/backend.h"

namespace nextgrad::cuda {

// Output o reads the source at (o * step + offset) / whole, held within [0, in - 1].
struct Axis {
  std::int64_t in, out, step, offset, whole;
  bool nearest;
};

inline Axis axis_of(std::int64_t in, std::int64_t out, Resize mode) {
  if (mode == Resize::nearest) return {in, out, in, 0, out, true};
  if (mode == Resize::bilinear) return {in, out, 2 * in, in - out, 2 * out, false};
  return {in, out, out > 1 ? in - 1 : 0, 0, std::max<std::int64_t>(out - 1, 1), false};
}

// value = (1 - t) source[first] + t source[second]; second is first + 1, or first where t is 0:
// what is not there (at the border, below a band) must not be read, even times 0.
template <class T>
struct Tap {
  std::int64_t first, second;
  T t;
};

__device__ __forceinline__ std::int64_t source_of(const Axis& a, std::int64_t o) {
  const std::int64_t at = o * a.step + a.offset, last = (a.in - 1) * a.whole;
  return at < 0 ? 0 : at > last && !a.nearest ? last : at;
}

// a / b of numbers that are not negative, most often small.
__device__ __forceinline__ std::int64_t divide(std::int64_t a, std::int64_t b) {
  if ((a | b) >> 32 == 0) return static_cast<unsigned>(a) / static_cast<unsigned>(b);
  return a / b;
}

template <class T>
__device__ __forceinline__ Tap<T> tap_at(const Axis& a, std::int64_t o) {
  const std::int64_t at = source_of(a, o), first = divide(at, a.whole);
  if (a.nearest) return {first, first, T(0)};
  const T t = static_cast<T>(at - first * a.whole) / static_cast<T>(a.whole);
  return {first, t > T(0) ? first + 1 : first, t};
}

// How much of source position y output o reads.
template <class T>
__device__ __forceinline__ T weight_of(const Axis& a, std::int64_t y, std::int64_t o) {
  const std::int64_t apart = source_of(a, o) - y * a.whole;
  if (a.nearest) return apart >= 0 && apart < a.whole ? T(1) : T(0);
  const std::int64_t left = a.whole - (apart < 0 ? -apart : apart);
  return left > 0 ? static_cast<T>(left) / static_cast<T>(a.whole) : T(0);
}

// The first output whose unclamped source is at or after `at` / whole.
__device__ __forceinline__ std::int64_t first_from(const Axis& a, std::int64_t at) {
  const std::int64_t distance = at - a.offset;
  if (distance <= 0) return 0;
  if (a.step == 0) return a.out;
  const std::int64_t o = divide(distance + a.step - 1, a.step);
  return o < a.out ? o : a.out;
}

// The first output whose tap's `first` is y or more; y = in gives the end.
__device__ __forceinline__ std::int64_t start_of(const Axis& a, std::int64_t y) {
  return y <= 0 ? 0 : y >= a.in ? a.out : first_from(a, y * a.whole);
}

// [begin, end) holds all outputs that read source position y.
struct Readers {
  std::int64_t begin, end;
};
__device__ __forceinline__ Readers readers_of(const Axis& a, std::int64_t y) {
  return {y == 0 ? 0 : first_from(a, (y - 1) * a.whole + 1),
          y == a.in - 1 ? a.out : first_from(a, (y + 1) * a.whole)};
}

// a at t = 0, b at t = 1. Both directions of a loss must blend a pixel's logits by the same
// operations, so that e^(v - log_sum) is a probability even where logits are large.
template <class C>
__device__ __forceinline__ C blend(C a, C b, C t) {
  return std::fma(t, b - a, a);
}

// A bilinear resize of x [n, h, w, k] to [n, oh, ow, k], for kernels that work by cells.
struct UpsampleShape {
  std::int64_t n, h, w, oh, ow;
  int k;
  Axis rows, columns;
};
inline UpsampleShape upsample_shape(const Tensor& x, std::int64_t oh, std::int64_t ow) {
  const std::int64_t h = x.dim(1), w = x.dim(2);
  return {x.dim(0),
          h,
          w,
          oh,
          ow,
          static_cast<int>(x.dim(3)),
          axis_of(h, oh, Resize::bilinear),
          axis_of(w, ow, Resize::bilinear)};
}

}  // namespace nextgrad::cuda
