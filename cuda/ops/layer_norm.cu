// Layer norm over the last axis: a team of threads takes a row (row_team.h), which stays in the
// first-level cache for its passes (mean, variance, result). The sums for gamma and beta are a
// second kernel's, packs of channels x rows (channels.h), added up in double.
// Bound: memory; x is read and y written once (backward: x and dy twice, dx written).
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/row_team.h"
#include "cuda/kit/sums.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {
namespace {

template <class T, int N>
__global__ void layer_norm_rows(const T* x, const Compute<T>* gamma, const Compute<T>* beta,
                                std::int64_t rows, std::int64_t c, int lanes, double eps, T* y,
                                Compute<T>* mean, Compute<T>* rstd) {
  using C = Compute<T>;
  __shared__ C scratch[32];
  for (TeamRows team(lanes); team.more(rows); team.next()) {
    const std::int64_t end = team.row < rows ? c : 0;  // past the end there is nothing to sum
    const T* from = x + team.row * c;
    // The first element is taken off, lest a large mean lose digits.
    const C shift = end > 0 ? widen(from[0]) : C(0);
    C sum = 0, square = 0, v[N];
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(from + k, v);
      unroll<N>([&](int i) { sum += v[i] - shift; });
    }
    const C m = shift + team.combine(sum, scratch) / static_cast<C>(c);
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(from + k, v);
      unroll<N>([&](int i) { square += (v[i] - m) * (v[i] - m); });
    }
    const C variance = team.combine(square, scratch) / static_cast<C>(c);
    const C s = C(1) / std::sqrt(variance + static_cast<C>(eps));
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(from + k, v);
      unroll<N>([&](int i) { v[i] = (v[i] - m) * s * gamma[k + i] + beta[k + i]; });
      store<N>(y + team.row * c + k, v);
    }
    if (team.lane != 0 || team.row >= rows) continue;
    mean[team.row] = m;
    rstd[team.row] = s;
  }
}

// dx = rstd (g - mean(g) - hat mean(g hat)), g = dy gamma, hat = (x - mean) rstd.
template <class T, int N>
__global__ void layer_norm_gradient_rows(const T* x, const Compute<T>* gamma,
                                         const Compute<T>* mean, const Compute<T>* rstd,
                                         const T* dy, std::int64_t rows, std::int64_t c, int lanes,
                                         T* dx) {
  using C = Compute<T>;
  __shared__ C scratch[32];
  for (TeamRows team(lanes); team.more(rows); team.next()) {
    const std::int64_t end = team.row < rows ? c : 0;
    const std::int64_t start = team.row * c;
    const C m = end > 0 ? mean[team.row] : C(0), s = end > 0 ? rstd[team.row] : C(0);
    C sum = 0, sum_hat = 0, v[N], d[N];
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(x + start + k, v);
      load<N>(dy + start + k, d);
      unroll<N>([&](int i) {
        const C g = d[i] * gamma[k + i];
        sum += g;
        sum_hat += g * ((v[i] - m) * s);
      });
    }
    const C a = team.combine(sum, scratch) / static_cast<C>(c);
    const C b = team.combine(sum_hat, scratch) / static_cast<C>(c);
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(x + start + k, v);
      load<N>(dy + start + k, d);
      unroll<N>([&](int i) { v[i] = s * (d[i] * gamma[k + i] - a - (v[i] - m) * s * b); });
      store<N>(dx + start + k, v);
    }
  }
}

// partials [chunks, 2, c]: the sums of dy hat and dy.
template <class T, int N>
__global__ void parameter_sums(const T* x, const T* dy, ChannelPlan p, const Compute<T>* mean,
                               const Compute<T>* rstd, Compute<T>* partials) {
  using C = Compute<T>;
  const ChannelPlace<N> place(p);
  C sum[2 * N] = {};
  std::int64_t row = place.first + threadIdx.y;
  place.for_rows(p, [&](std::int64_t at) {
    C v[N], d[N];
    load<N>(x + at, v);
    load<N>(dy + at, d);
    const C m = mean[row], s = rstd[row];
    row += blockDim.y;
    unroll<N>([&](int i) {
      sum[i] += d[i] * ((v[i] - m) * s);
      sum[N + i] += d[i];
    });
  });
  leave_sums(p, place, sum, partials);
}

}  // namespace

NormResult CudaBackend::layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   double eps) {
  Scope scope(*this, costs::layer_norm(x));
  NormResult r = empty_norm(x, without_axis(x.shape(), x.ndim() - 1));
  const ImageRows e = image_rows(x, 1);
  if (e.rows == 0) return r;
  dispatch_packs("layer_norm", e.c, {x, r.y}, [&]<class T, int N>() {
    const int lanes = team_lanes(e.c / N);
    launch("layer_norm", layer_norm_rows<T, N>, team_grid(e.rows, lanes), stream_, x, gamma, beta,
           e.rows, e.c, lanes, eps, r.y, r.mean, r.rstd);
  });
  return r;
}

NormGradients CudaBackend::layer_norm_backward(const Tensor& x, const Tensor& gamma,
                                               const Tensor& mean, const Tensor& rstd,
                                               const Tensor& dy) {
  Scope scope(*this, costs::layer_norm_backward(x));
  NormGradients g = empty_norm_gradients(x, gamma);
  if (x.numel() == 0) return g;
  const ImageRows e = image_rows(x, 1);
  dispatch_packs("layer_norm_backward", e.c, {x, dy, g.dx}, [&]<class T, int N>() {
    const int lanes = team_lanes(e.c / N);
    launch("layer_norm_backward", layer_norm_gradient_rows<T, N>, team_grid(e.rows, lanes), stream_,
           x, gamma, mean, rstd, dy, e.rows, e.c, lanes, g.dx);
    const ChannelGrid sums = sums_grid<T>(e, N, 2);
    const Tensor partials = empty({sums.blocks(), 2, e.c}, gamma.dtype());
    launch("parameter_sums", parameter_sums<T, N>, sums.grid, stream_, x, dy, sums.plan, mean, rstd,
           partials);
    add_partials(stream_, partials, {{0, g.dgamma}, {e.c, g.dbeta}});
  });
  return g;
}

}  // namespace nextgrad::cuda
