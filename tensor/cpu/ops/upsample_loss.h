// Cross entropy of bilinearly upsampled logits, cell by cell. A cell is what lies between four
// neighbouring source positions; with ratio 8 it holds 8 x 8 output pixels, and its corners' K
// classes are few enough for L1 (K = 150, f32: 2.5 KB):
//
//     a0 . . . . . . . a1      v(ty, tx) = P + ty Q + tx (D + ty X)
//      . . . . . . . .           P = a0 - top, Q = b0 - a0, D = a1 - a0, X = b1 - b0 - D
//      . . . . . . . .         relative to top, the largest logit of the four corners
//     b0               b1
//
// Along one output row of a cell, a run, the logits of a class are an arithmetic progression, so
// their exponentials are a geometric one: two exponentials (the first pixel's E and the ratio R)
// serve 8 pixels. Forward, vector by vector of classes: sum[j] += E; E *= R, the 8 sums in
// registers. Backward: the class's share in the gradients is the sum over pixels of q[j] E R^j,
// a polynomial in R by Horner's rule, with q once for the left and once for the right corners.
// Bound: 2 exponentials of 14 operations and 16 (forward: 15) more for 8 pixels and one vector.
// 2 x 512 x 512 pixels of 150 classes on one core: 19 to 20 ms, backward 25 to 26 on a Zen 3, 16
// and 18 on one with AVX-512; two exponentials' chains of dependent operations are what keeps it
// from half of that.
//
// Cells whose corners are so far apart that a sum could underflow (not gentle) go pixel by pixel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tensor/cpu/kit/lanes.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/simd.h"

namespace nextgrad::cpu {

inline constexpr int kRunPixels = 8;  // rounding of R^j grows with j: longer runs start again
// Logits of a padded class, of no probability; in a cell relative to its top, where e^-60 = 1e-26
// is nothing beside the sum, but times a weight is no denormal number yet, each of which takes 150
// cycles. And the largest difference along an edge of a gentle cell: in float e^x is 0 below -87,
// so that a class lost at a run's start is below e^(-87 + 3 kGentle) = 1e-12 of the sum at its end.
inline constexpr double kPadding = -1e30, kCellPadding = -60;
inline constexpr double kGentle = 20;

// x = e^x of both vectors at once, so that their chains of dependent operations overlap.
template <class T>
inline void exp_of_both(Vec<T> (&x)[2]) {
  T number[2 * kLanes<T>];
  store(number, x[0]);
  store(number + kLanes<T>, x[1]);
#pragma omp simd
  for (int i = 0; i < 2 * kLanes<T>; ++i) number[i] = bounded_exp(number[i]);
  x[0] = load(number);
  x[1] = load(number + kLanes<T>);
}

// Class c of the cell [4, padded] (P, Q, D, X one after the other) at (ty, tx), relative to top.
template <class T>
inline T cell_at(const T* cell, std::int64_t padded, std::int64_t c, T ty, T tx) {
  const T *p = cell + c, *q = p + padded, *d = q + padded, *x = d + padded;
  return *p + ty * *q + tx * (*d + ty * *x);
}

// Fills `to` [4, padded] from the corners' k logits; false if the cell is not gentle.
template <class T>
bool make_cell(const T* a0, const T* a1, const T* b0, const T* b1, std::int64_t k,
               std::int64_t padded, T* to, T& top) {
  T most = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : most)
  for (std::int64_t c = 0; c < k; ++c) {
    const T a = a0[c] > a1[c] ? a0[c] : a1[c], b = b0[c] > b1[c] ? b0[c] : b1[c];
    const T larger = a > b ? a : b;
    most = larger > most ? larger : most;
  }
  T *p = to, *q = p + padded, *d = q + padded, *x = d + padded;
  T steep = 0;
#pragma omp simd reduction(max : steep)
  for (std::int64_t c = 0; c < k; ++c) {
    const T left = b0[c] - a0[c], right = b1[c] - a1[c];
    const T upper = a1[c] - a0[c], lower = b1[c] - b0[c];
    p[c] = a0[c] - most;
    q[c] = left;
    d[c] = upper;
    x[c] = lower - upper;
    const T v = std::abs(left) > std::abs(right) ? std::abs(left) : std::abs(right);
    const T h = std::abs(upper) > std::abs(lower) ? std::abs(upper) : std::abs(lower);
    // A comparison with NaN must not lose it: then the cell is not gentle.
    const T edge = left + right + upper + lower == left + right + upper + lower
                       ? (v > h ? v : h)
                       : std::numeric_limits<T>::infinity();
    steep = edge > steep ? edge : steep;
  }
  for (T* padding : {p, q, d, x}) {
    std::fill(padding + k, padding + padded, padding == p ? T(kCellPadding) : T(0));
  }
  top = most;
  return steep <= T(kGentle);
}

// sums[j] = sum over classes of e^(v(row, first + j distance) - top) for the 8 pixels of a run.
// `work` [2, padded] holds E and R: in one loop the exponentials would drive the sums out of
// registers.
template <class T>
inline void run_sums(const T* cell, std::int64_t padded, T row, T first, T distance, T* work,
                     T* sums) {
  const T *p = cell, *q = p + padded, *d = q + padded, *x = d + padded;
  const Vec<T> ty = splat(row), start = splat(first), step = splat(distance);
  for (std::int64_t c = 0; c < padded; c += kLanes<T>) {
    const Vec<T> slope = load(d + c) + ty * load(x + c);
    Vec<T> e[2] = {load(p + c) + ty * load(q + c) + start * slope, step * slope};
    exp_of_both<T>(e);
    store(work + c, e[0]);
    store(work + padded + c, e[1]);
  }
  Vec<T> sum[kRunPixels] = {};
  for (std::int64_t c = 0; c < padded; c += kLanes<T>) {
    Vec<T> e = load(work + c);
    const Vec<T> ratio = load(work + padded + c);
#pragma GCC unroll 8
    for (int j = 0; j < kRunPixels; ++j) {
      sum[j] += e;
      e *= ratio;
    }
  }
  for (int j = 0; j < kRunPixels; ++j) sums[j] = lane_sum<T>(sum[j]);
}

// A run and, per pixel, what its probabilities are worth in the gradients of the left and of the
// right corners of the row.
template <class T>
struct WeightedRun {
  Vec<T> ty, start, step;
  Vec<T> left[kRunPixels], right[kRunPixels];
};

inline constexpr int kRunBatch = 8;  // whose E and R are made before they are used

// Adds to the corners' gradients the runs' shares: sum over pixels j of weight[j] e^(v[j] - top).
// At most kRunBatch runs.
template <class T>
inline void add_run_gradients(const T* cell, std::int64_t padded, const WeightedRun<T>* runs,
                              std::int64_t n, T* a0, T* a1, T* b0, T* b1) {
  const T *p = cell, *q = p + padded, *d = q + padded, *x = d + padded;
  for (std::int64_t c = 0; c < padded; c += kLanes<T>) {
    const Vec<T> pc = load(p + c), qc = load(q + c), dc = load(d + c), xc = load(x + c);
    Vec<T> left = {}, right = {}, lower_left = {}, lower_right = {};
    Vec<T> e[kRunBatch][2];
    for (std::int64_t i = 0; i < n; ++i) {
      const WeightedRun<T>& r = runs[i];
      const Vec<T> slope = dc + r.ty * xc;
      e[i][0] = pc + r.ty * qc + r.start * slope;
      e[i][1] = r.step * slope;
      exp_of_both<T>(e[i]);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const WeightedRun<T>& r = runs[i];
      const Vec<T> ratio = e[i][1];
      Vec<T> l = r.left[kRunPixels - 1], g = r.right[kRunPixels - 1];
#pragma GCC unroll 8
      for (int j = kRunPixels - 2; j >= 0; --j) {
        l = l * ratio + r.left[j];
        g = g * ratio + r.right[j];
      }
      l *= e[i][0];
      g *= e[i][0];
      left += l;
      right += g;
      lower_left += r.ty * l;
      lower_right += r.ty * g;
    }
    // One after the other, since corners at the border are one.
    store(a0 + c, load(a0 + c) + (left - lower_left));
    store(a1 + c, load(a1 + c) + (right - lower_right));
    store(b0 + c, load(b0 + c) + lower_left);
    store(b1 + c, load(b1 + c) + lower_right);
  }
}

}  // namespace nextgrad::cpu
