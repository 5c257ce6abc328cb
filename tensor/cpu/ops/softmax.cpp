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

}  // namespace

Tensor CpuBackend::softmax(const Tensor& x, bool log) {
  OpScope scope((log ? costs::log_softmax : costs::softmax)(x));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const std::int64_t n = x.dim(-1);
  const std::int64_t rows = n == 0 ? 0 : x.numel() / n,
                     grain = 16384 / std::max<std::int64_t>(1, n);
  dispatch_float(x.dtype(), "softmax", [&]<class T>(T) {
    parallel_each(rows, grain, [=, from = x.data<T>(), to = y.data<T>()](std::int64_t r) {
      softmax_row(from + r * n, to + r * n, n, log);
    });
  });
  return y;
}

}  // namespace nextgrad::cpu
