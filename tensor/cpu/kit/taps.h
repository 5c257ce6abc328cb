// Which two source positions an output position of a resize reads along one axis, and how much of
// each: shared by resize*.cpp and upsample_loss.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensor/backend.h"

namespace nextgrad::cpu {

// value = (1 - t) source[first] + t source[second]; second is first + 1, or first at the border.
struct Tap {
  std::int64_t first = 0, second = 0;
  double t = 0;
};

// One tap per output position, `first` never falling; positions as in PyTorch's interpolate. Not
// inline: who reads a picture's rows and who resizes them must agree on them to the last bit.
std::vector<Tap> make_taps(std::int64_t in, std::int64_t out, Resize mode);
// The taps of a band's output rows in a picture's rows.
std::vector<Tap> band_taps(const RowBand& band);

// starts[y], one for each source position and the end: the first of `of` (taps, or runs of
// them) whose `first` is that or more.
template <class Of>
inline std::vector<std::int64_t> starts_of(const std::vector<Of>& of, std::int64_t n) {
  std::vector<std::int64_t> starts;
  for (std::int64_t y = 0; y <= n; ++y) {
    const auto at =
        std::partition_point(of.begin(), of.end(), [=](auto& o) { return o.first < y; });
    starts.push_back(at - of.begin());
  }
  return starts;
}

// v [k] = the four corners blended at (ty, tx).
template <class T>
inline void blend_corners(const T* a0, const T* a1, const T* b0, const T* b1, std::int64_t k, T ty,
                          T tx, T* v) {
  const T w00 = (T(1) - ty) * (T(1) - tx), w01 = (T(1) - ty) * tx, w10 = ty * (T(1) - tx);
  const T w11 = ty * tx;
#pragma omp simd
  for (std::int64_t c = 0; c < k; ++c) {
    v[c] = (w00 * a0[c] + w01 * a1[c]) + (w10 * b0[c] + w11 * b1[c]);
  }
}

// y += t x over n elements.
template <class T>
inline void accumulate(const T* x, T t, T* y, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] += t * x[i];
}

}  // namespace nextgrad::cpu
