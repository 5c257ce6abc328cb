// Softmax and log-softmax over the last axis: three passes over a row that stays in the first-level
// cache (largest, exponentials and their sum, scaling); rows are split over threads.
#include <cmath>
#include <limits>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/parallel.h"

namespace nextgrad::cpu {
namespace {

template <class T>
void softmax_row(const T* x, T* y, std::int64_t n, bool log) {
  T most = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : most)
  for (std::int64_t i = 0; i < n; ++i) most = x[i] > most ? x[i] : most;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = cpu::exp(x[i] - most);
    sum += y[i];
  }
  if (log) {
    const T log_sum = most + std::log(sum);
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] - log_sum;
  } else {
    const T scale = T(1) / sum;
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) y[i] *= scale;
  }
}

// Softmax: dx = y (dy - sum(dy y)); log-softmax: dx = dy - e^y sum(dy).
template <class T>
void softmax_backward_row(const T* y, const T* dy, T* dx, std::int64_t n, bool log) {
  T sum = 0;
  if (log) {
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < n; ++i) sum += dy[i];
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) dx[i] = dy[i] - cpu::exp(y[i]) * sum;
  } else {
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < n; ++i) sum += dy[i] * y[i];
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - sum);
  }
}

// Calls fn(offset) for each row of n elements, in parallel.
template <class Fn>
void for_each_row(const Tensor& x, std::int64_t n, Fn&& fn) {
  const std::int64_t rows = n == 0 ? 0 : x.numel() / n;
  parallel_each(rows, 16384 / std::max<std::int64_t>(1, n), [&](std::int64_t r) { fn(r * n); });
}

}  // namespace

Tensor CpuBackend::softmax(const Tensor& x, bool log) {
  OpScope scope((log ? costs::log_softmax : costs::softmax)(x));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const std::int64_t n = x.dim(-1);
  dispatch_float(x.dtype(), "softmax", [&]<class T>(T) {
    for_each_row(x, n, [&, px = x.data<T>(), py = y.data<T>()](std::int64_t at) {
      softmax_row(px + at, py + at, n, log);
    });
  });
  return y;
}

Tensor CpuBackend::softmax_backward(const Tensor& y, const Tensor& dy, bool log) {
  OpScope scope((log ? costs::log_softmax_backward : costs::softmax_backward)(y));
  Tensor dx = Tensor::empty(y.shape(), y.dtype(), y.device());
  const std::int64_t n = y.dim(-1);
  dispatch_float(y.dtype(), "softmax_backward", [&]<class T>(T) {
    for_each_row(y, n,
                 [&, py = y.data<T>(), pd = dy.data<T>(), pdx = dx.data<T>()](std::int64_t at) {
                   softmax_backward_row(py + at, pd + at, pdx + at, n, log);
                 });
  });
  return dx;
}

}  // namespace nextgrad::cpu
