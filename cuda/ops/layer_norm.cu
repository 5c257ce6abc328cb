// Layer norm over the last axis: a team of threads takes a row (row_team.h), which stays in the
// first-level cache for its passes (mean, variance, result). The sums for gamma and beta are a
// second kernel's, packs of channels x rows (channels.h), added up in double.
// Bound: memory; x is read and y written once (backward: x and dy twice, dx written).
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channels.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/row_team.h"

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
#pragma unroll
      for (int i = 0; i < N; ++i) sum += v[i] - shift;
    }
    const C m = shift + team.combine(sum, scratch) / static_cast<C>(c);
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(from + k, v);
#pragma unroll
      for (int i = 0; i < N; ++i) square += (v[i] - m) * (v[i] - m);
    }
    const C variance = team.combine(square, scratch) / static_cast<C>(c);
    const C s = C(1) / square_root(variance + static_cast<C>(eps));
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(from + k, v);
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = (v[i] - m) * s * gamma[k + i] + beta[k + i];
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
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const C g = d[i] * gamma[k + i];
        sum += g;
        sum_hat += g * ((v[i] - m) * s);
      }
    }
    const C a = team.combine(sum, scratch) / static_cast<C>(c);
    const C b = team.combine(sum_hat, scratch) / static_cast<C>(c);
    for (std::int64_t k = team.lane * N; k < end; k += lanes * N) {
      load<N>(x + start + k, v);
      load<N>(dy + start + k, d);
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = s * (d[i] * gamma[k + i] - a - (v[i] - m) * s * b);
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
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum[i] += d[i] * ((v[i] - m) * s);
      sum[N + i] += d[i];
    }
  });
  combine_rows(sum, shared_memory<C>());
  if (threadIdx.y != 0 || !place.inside) return;
  C* to = partials + static_cast<std::int64_t>(blockIdx.x) * 2 * p.c + place.channel;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    to[i] = sum[i];
    to[p.c + i] = sum[N + i];
  }
}

constexpr int kSumRows = 32;  // rows that a thread sums up in T

std::int64_t rows_of(const Tensor& x) {
  return x.dim(-1) == 0 ? 0 : x.numel() / x.dim(-1);
}

template <class T>
void layer_norm_gradients(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                          const Tensor& rstd, const Tensor& dy, NormGradients& g,
                          cudaStream_t stream) {
  using C = Compute<T>;
  const std::int64_t c = x.dim(-1), rows = rows_of(x);
  const T *from = x.data<T>(), *from_dy = dy.data<T>();
  T* to = g.dx.data<T>();
  with_pack<T>(packs_fit<T>(c, from, from_dy, to), [&](auto width) {
    constexpr int N = decltype(width)::value;
    const int lanes = team_lanes(c / N);
    launch("layer_norm_backward", layer_norm_gradient_rows<T, N>, team_grid(rows, lanes), stream,
           from, gamma.data<C>(), mean.data<C>(), rstd.data<C>(), from_dy, rows, c, lanes, to);
    const ChannelGrid sums = channel_grid(1, rows, c, N, kSumRows, 2 * N * sizeof(C));
    const Tensor partials = Tensor::empty({sums.blocks(), 2, c}, gamma.dtype(), x.device());
    launch("parameter_sums", parameter_sums<T, N>, sums.grid, stream, from, from_dy, sums.plan,
           mean.data<C>(), rstd.data<C>(), partials.data<C>());
    launch("sum_partials", sum_partials<2, C>, totals_grid<2>(c), stream, partials.data<C>(),
           sums.blocks(), c, g.dgamma.data<C>(), g.dbeta.data<C>());
  });
}

}  // namespace

NormResult CudaBackend::layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   double eps) {
  Scope scope(*this, "layer_norm", 8.0 * static_cast<double>(x.numel()),
              2.0 * static_cast<double>(x.nbytes()));
  Shape rows_shape;
  for (int a = 0; a + 1 < x.ndim(); ++a) rows_shape.push_back(x.shape()[a]);
  const DType parameters = parameter_dtype(x.dtype());
  NormResult r{empty_like(x), empty(rows_shape, parameters), empty(rows_shape, parameters)};
  const std::int64_t c = x.dim(-1), rows = rows_of(x);
  if (rows == 0) return r;
  dispatch_activation(x.dtype(), "layer_norm", [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const T* from = x.data<T>();
    T* to = r.y.data<T>();
    with_pack<T>(packs_fit<T>(c, from, to), [&](auto width) {
      constexpr int N = decltype(width)::value;
      const int lanes = team_lanes(c / N);
      launch("layer_norm", layer_norm_rows<T, N>, team_grid(rows, lanes), stream_, from,
             gamma.data<C>(), beta.data<C>(), rows, c, lanes, eps, to, r.mean.data<C>(),
             r.rstd.data<C>());
    });
  });
  return r;
}

NormGradients CudaBackend::layer_norm_backward(const Tensor& x, const Tensor& gamma,
                                               const Tensor& mean, const Tensor& rstd,
                                               const Tensor& dy) {
  Scope scope(*this, "layer_norm_backward", 14.0 * static_cast<double>(x.numel()),
              3.0 * static_cast<double>(x.nbytes()));
  NormGradients g{empty_like(x), empty_like(gamma), empty_like(gamma)};
  if (x.numel() == 0) {
    g.dgamma.fill_(0);
    g.dbeta.fill_(0);
    return g;
  }
  dispatch_activation(x.dtype(), "layer_norm_backward", [&](auto zero) {
    layer_norm_gradients<decltype(zero)>(x, gamma, mean, rstd, dy, g, stream_);
  });
  return g;
}

}  // namespace nextgrad::cuda
