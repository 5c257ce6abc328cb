// Softmax and log-softmax over the last axis: a team of threads takes a row (row_team.h), which
// stays in the first-level cache for its passes (largest, sum of exponentials, result).
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/row_team.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

template <class T>
__global__ void softmax_rows(const T* x, T* y, std::int64_t rows, std::int64_t n, int lanes,
                             bool log) {
  using C = Compute<T>;
  __shared__ C scratch[32];
  for (TeamRows team(lanes); team.more(rows); team.next()) {
    const std::int64_t end = team.row < rows ? n : 0;  // past the last row there is nothing
    const T* from = x + team.row * n;
    T* to = y + team.row * n;
    C most = -static_cast<C>(INFINITY), sum = 0;
    for (std::int64_t i = team.lane; i < end; i += lanes) {
      const C v = widen(from[i]);
      most = v > most ? v : most;
    }
    most = team.combine(most, scratch, Max());
    for (std::int64_t i = team.lane; i < end; i += lanes) sum += std::exp(widen(from[i]) - most);
    sum = team.combine(sum, scratch);
    const C log_sum = most + std::log(sum), scale = C(1) / sum;
    for (std::int64_t i = team.lane; i < end; i += lanes) {
      const C v = widen(from[i]);
      to[i] = narrow<T>(log ? v - log_sum : std::exp(v - most) * scale);
    }
  }
}

// Softmax: dx = y (dy - sum(dy y)); log-softmax: dx = dy - e^y sum(dy).
template <class T>
__global__ void softmax_gradient_rows(const T* y, const T* dy, T* dx, std::int64_t rows,
                                      std::int64_t n, int lanes, bool log) {
  using C = Compute<T>;
  __shared__ C scratch[32];
  for (TeamRows team(lanes); team.more(rows); team.next()) {
    const std::int64_t end = team.row < rows ? n : 0;
    const T *of_y = y + team.row * n, *of_dy = dy + team.row * n;
    T* to = dx + team.row * n;
    C sum = 0;
    for (std::int64_t i = team.lane; i < end; i += lanes)
      sum += log ? widen(of_dy[i]) : widen(of_dy[i]) * widen(of_y[i]);
    sum = team.combine(sum, scratch);
    for (std::int64_t i = team.lane; i < end; i += lanes) {
      const C v = widen(of_y[i]), d = widen(of_dy[i]);
      to[i] = narrow<T>(log ? d - std::exp(v) * sum : v * (d - sum));
    }
  }
}

}  // namespace

Tensor CudaBackend::softmax(const Tensor& x, bool log) {
  Scope scope(*this, (log ? costs::log_softmax : costs::softmax)(x));
  Tensor y = empty_like(x);
  if (x.numel() == 0) return y;
  const ImageRows e = image_rows(x, 1);
  const int lanes = team_lanes(e.c);
  dispatch_activation(x.dtype(), "softmax", [&]<class T>() {
    launch("softmax", softmax_rows<T>, team_grid(e.rows, lanes), stream_, x, y, e.rows, e.c, lanes,
           log);
  });
  return y;
}

Tensor CudaBackend::softmax_backward(const Tensor& y, const Tensor& dy, bool log) {
  Scope scope(*this, (log ? costs::log_softmax_backward : costs::softmax_backward)(y));
  Tensor dx = empty_like(y);
  if (y.numel() == 0) return dx;
  const ImageRows e = image_rows(y, 1);
  const int lanes = team_lanes(e.c);
  dispatch_activation(y.dtype(), "softmax_backward", [&]<class T>() {
    launch("softmax_backward", softmax_gradient_rows<T>, team_grid(e.rows, lanes), stream_, y, dy,
           dx, e.rows, e.c, lanes, log);
  });
  return dx;
}

}  // namespace nextgrad::cuda
