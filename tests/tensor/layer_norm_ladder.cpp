// The steps. A row of c numbers needs two sums, a root, a division, and a pass that writes; each
// step computes exactly that, and changes one thing about how. What a step should gain is said as a
// guess that the timings can refute; what they said is in tensor/cpu/README.md.
//
//      x: | row 0: c numbers | row 1 | ...     mean, then squares about it, then y: three passes
//
// All of them take x[0] off before they sum for the mean: the sum of 256 numbers near 10000 has no
// digits left, in f32, for what makes them differ. For the same reason none sums x and x^2 in one
// pass, though it would be the shorter loop: the mean's square would swallow the variance.
#include "tests/tensor/layer_norm_ladder.h"

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tensor/cpu/kit/chunks.h"
#include "tensor/cpu/kit/lanes.h"
#include "tensor/extents.h"

namespace nextgrad::test {
namespace {

using namespace nextgrad::cpu;

// Step 1, naive: three loops as the formula has them, one row after the other, on one thread.
template <class T>
void naive(const T* x, const T* gamma, const T* beta, std::int64_t rows, std::int64_t c, T eps,
           T* y, T* mean, T* rstd) {
  for (std::int64_t r = 0; r < rows; ++r, x += c, y += c) {
    T sum = 0, squares = 0;
    for (std::int64_t k = 0; k < c; ++k) sum += x[k] - x[0];
    const T m = x[0] + sum / static_cast<T>(c);
    for (std::int64_t k = 0; k < c; ++k) squares += (x[k] - m) * (x[k] - m);
    const T s = T(1) / std::sqrt(squares / static_cast<T>(c) + eps);
    for (std::int64_t k = 0; k < c; ++k) y[k] = (x[k] - m) * s * gamma[k] + beta[k];
    mean[r] = m;
    rstd[r] = s;
  }
}

// Step 2, sums in any order. A sum is a chain: each addition waits 3 to 4 cycles for the one
// before, so two sums of 32 numbers take 200 cycles, where memory needs 25 for the row. The
// compiler may not break the chain itself: (a + b) + c and a + (b + c) round differently, and it
// must give the program's result. `omp simd reduction` is the leave, for this one sum: it keeps a
// partial sum in each lane of a vector.
template <class T>
void any_order(const T* x, const T* gamma, const T* beta, std::int64_t rows, std::int64_t c, T eps,
               T* y, T* mean, T* rstd) {
  for (std::int64_t r = 0; r < rows; ++r, x += c, y += c) {
    T sum = 0, squares = 0;
    const T first = x[0];
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < c; ++k) sum += x[k] - first;
    const T m = first + sum / static_cast<T>(c);
#pragma omp simd reduction(+ : squares)
    for (std::int64_t k = 0; k < c; ++k) squares += (x[k] - m) * (x[k] - m);
    const T s = T(1) / std::sqrt(squares / static_cast<T>(c) + eps);
#pragma omp simd
    for (std::int64_t k = 0; k < c; ++k) y[k] = (x[k] - m) * s * gamma[k] + beta[k];
    mean[r] = m;
    rstd[r] = s;
  }
}

// The sum of f(x[k]), a partial sum in each lane.
template <class T, class Fn>
inline T sum_in_lanes(const T* x, std::int64_t c, Fn&& f) {
  Vec<T> lanes = {};
  T rest = 0;
  for_lanes<T>(c, [&](std::int64_t k, auto zero) {
    if constexpr (std::is_same_v<decltype(zero), T>) {
      rest += f(x[k]);
    } else {
      lanes += f(load(x + k));
    }
  });
  return lane_sum<T>(lanes) + rest;
}

// Step 3, vectors by hand (lanes.h). 32 channels are four vectors of AVX2: a loop that the compiler
// vectorised asks first whether there are enough of them and what is left over, three times a row,
// and that is no less work than four additions. And 1/c is found once, not by two divisions a row
// for which everything behind them waits.
template <class T>
void lanes(const T* x, const T* gamma, const T* beta, std::int64_t rows, std::int64_t c, T eps,
           T* y, T* mean, T* rstd) {
  const T inverse = T(1) / static_cast<T>(c);
  for (std::int64_t r = 0; r < rows; ++r, x += c, y += c) {
    const T first = x[0];
    const T m = first + sum_in_lanes(x, c, [=](auto v) { return v - first; }) * inverse;
    const T squares = sum_in_lanes(x, c, [=](auto v) { return (v - m) * (v - m); });
    const T s = T(1) / std::sqrt(squares * inverse + eps);
    for_lanes<T>(c, [=](std::int64_t k, auto zero) {
      using V = decltype(zero);
      put<V>(y + k, (get<V>(x + k) - m) * s * get<V>(gamma + k) + get<V>(beta + k));
    });
    mean[r] = m;
    rstd[r] = s;
  }
}

// Step 4, chunks of rows to threads (chunks.h). Rows know nothing of each other. Two cores halve
// the time as long as it is spent in latencies; once it is spent in memory, which they share, they
// gain what one core alone could not ask for.
template <class T>
void threads(const T* x, const T* gamma, const T* beta, std::int64_t rows, std::int64_t c, T eps,
             T* y, T* mean, T* rstd) {
  for_chunks(Chunked<ImageRows>{{1, rows, c}}, [=](std::int64_t, const Chunk& chunk) {
    lanes(x + chunk.at, gamma, beta, chunk.rows, c, eps, y + chunk.at, mean + chunk.row,
          rstd + chunk.row);
  });
}

// Step 5, eight rows in flight: tensor/cpu/ops/layer_norm.cpp itself. A short row is still one
// chain (sum, lanes' sum, mean, squares, root, division, result), some 100 cycles of which the
// processor sees one or two rows ahead. The kernel takes each link of the chain for eight rows
// before the next, so that eight wait together. The price: while the eight are computed, nobody
// reads the next ones, so where rows are long and come from memory, not from a cache, step 4 is the
// faster one.
NormResult ships(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  return backend_of(Device{}).layer_norm(x, gamma, beta, eps);
}

// A step of a kernel (a lambda without captures) that takes pointers and extents. It allocates its
// results, as the one that ships does.
template <class Kernel>
constexpr LadderStep step(const char* name, Kernel) {
  return {name, [](const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
            NormResult result = empty_norm(x, without_axis(x.shape(), x.ndim() - 1));
            const ImageRows e = image_rows(x, 1);
            dispatch_float(x.dtype(), "layer norm", [&]<class T>(T) {
              Kernel{}(x.data<T>(), gamma.data<T>(), beta.data<T>(), e.rows, e.c,
                       static_cast<T>(eps), result.y.data<T>(), result.mean.data<T>(),
                       result.rstd.data<T>());
            });
            return result;
          }};
}

constexpr LadderStep kSteps[] = {
    step("1 naive", [](auto... a) { naive(a...); }),
    step("2 sums in any order", [](auto... a) { any_order(a...); }),
    step("3 vectors by hand", [](auto... a) { lanes(a...); }),
    step("4 threads", [](auto... a) { threads(a...); }),
    {"5 eight rows in flight (ships)", ships},
};

}  // namespace

std::span<const LadderStep> layer_norm_ladder() {
  return kSteps;
}

}  // namespace nextgrad::test
