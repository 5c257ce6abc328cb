// Batch and group norm in two stages, see channel_statistics.h; batch norm is group norm of one
// image, a channel a group. Bound: memory; x is read twice and y written (backward: x and dy twice,
// dx written).
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channel_statistics.h"
#include "cuda/kit/sums.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {
namespace {

// The group, counted over all images, of a thread's channel i; `width` channels a group.
template <int N>
__device__ __forceinline__ std::int64_t group_of(const ChannelPlace<N>& place, const ChannelPlan& p,
                                                 int i, int width) {
  const std::int64_t k = place.image * p.c + place.channel + i;
  return width == 1 ? k : k / width;
}

template <class T, int N>
__global__ void moments(const T* x, ChannelPlan p, Compute<T>* partials) {
  const ChannelPlace<N> place(p);
  Compute<T> shift[N] = {};
  if (place.inside) load<N>(x + place.at(p, place.first), shift);
  Moments<Compute<T>, N> m(shift);
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N];
    load<N>(x + at, v);
    m.add(v);
  });
  m.leave(p, place, partials);
}

// Combines partials in double: of each its n rows, the mean, less a shift, times n, and M2. Chan,
// Golub and LeVeque, "Algorithms for computing the sample variance", 1983, eq. 2.1, with all means
// at once.
struct Combined {
  double shift, sum = 0, square = 0;

  // Of channel `at`[0] in chunk j.
  template <class C>
  __device__ __forceinline__ void add(const ChannelPlan& p, std::int64_t j, const C* at) {
    const std::int64_t left = p.rows - j * p.chunk;
    const double n = static_cast<double>(left < p.chunk ? left : p.chunk);
    const double d = static_cast<double>(at[0]) - shift;
    sum += n * d;
    square += n * d * d + static_cast<double>(at[p.c]);
  }
  template <class C>
  __device__ __forceinline__ void finish(double n, double eps, C* mean, C* rstd) const {
    const double variance = (square - sum * sum / n) / n;
    *mean = static_cast<C>(shift + sum / n);
    *rstd = static_cast<C>(1.0 / sqrt((variance < 0 ? 0.0 : variance) + eps));
  }
};

// All chunks of a channel, for the first row of a block of 32 channels x some rows of threads;
// shifts: a number for each channel, null: 0.
template <class C>
__device__ __forceinline__ Combined combined(const C* partials, const ChannelPlan& p,
                                             const C* shifts, std::int64_t channel) {
  const bool inside = channel < p.c;
  Combined all{inside && shifts != nullptr ? static_cast<double>(shifts[channel]) : 0.0};
  if (inside) {
#pragma unroll 4
    for (std::int64_t j = threadIdx.y; j < p.chunks; j += blockDim.y)
      all.add(p, j, partials + j * 2 * p.c + channel);
  }
  double total[2] = {all.sum, all.square};
  combine_rows(total, shared_memory<double>());
  return {all.shift, total[0], total[1]};
}

// Running statistics and what moves them; none: mean is null.
template <class C>
struct Running {
  C *mean, *var;
  std::int64_t* batches;
  double eps, unbiased, momentum;

  // By one channel's.
  __device__ __forceinline__ void move(std::int64_t k, C by_mean, C by_rstd) const {
    if (k == 0 && batches != nullptr) ++*batches;
    const double s = static_cast<double>(by_rstd), variance = 1.0 / (s * s) - eps;
    const double old_mean = static_cast<double>(mean[k]), old_var = static_cast<double>(var[k]);
    mean[k] = static_cast<C>(old_mean + momentum * (static_cast<double>(by_mean) - old_mean));
    var[k] =
        static_cast<C>(old_var + momentum * ((variance < 0 ? 0.0 : variance) * unbiased - old_var));
  }
};
template <class C>
Running<C> running_of(const RunningStatistics* r, double eps, std::int64_t rows) {
  if (r == nullptr) return {};
  for (Tensor* t : {&r->mean, &r->var, r->batches}) {
    if (t == nullptr) continue;
    check(t->device() == r->mean.device(), "running statistics on {} and {}", t->device().str(),
          r->mean.device().str());
    t->bump_version();
  }
  return {r->mean.data<C>(),
          r->var.data<C>(),
          r->batches != nullptr ? r->batches->data<std::int64_t>() : nullptr,
          eps,
          rows > 1 ? static_cast<double>(rows) / static_cast<double>(rows - 1) : 1.0,
          r->momentum};
}

template <class C>
__global__ void finish_channels(const C* partials, ChannelPlan p, double eps, C* mean, C* rstd,
                                Running<C> running) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
  const Combined all = combined(partials, p, partials, channel);  // shifted by the first means
  if (threadIdx.y != 0 || channel >= p.c) return;
  all.finish(static_cast<double>(p.rows), eps, mean + channel, rstd + channel);
  if (running.mean != nullptr) running.move(channel, mean[channel], rstd[channel]);
}

// channel_moments() from the partials of moments().
template <class C>
__global__ void finish_moments(const C* partials, ChannelPlan p, const C* centre, double* sums) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
  const Combined all = combined(partials, p, centre, channel);
  if (threadIdx.y != 0 || channel >= p.c) return;
  sums[channel] = all.sum;
  sums[p.c + channel] = all.square;
}

// A block a group of an image: its chunks' channels in order.
template <class C>
__global__ void finish_groups(const C* partials, ChannelPlan p, int groups, double eps, C* mean,
                              C* rstd) {
  __shared__ double scratch[32];
  const std::int64_t image = blockIdx.x / groups, width = p.c / groups;
  const C* of = partials + image * p.chunks * 2 * p.c + (blockIdx.x - image * groups) * width;
  Combined all{static_cast<double>(of[0])};
  for (std::int64_t i = threadIdx.x; i < p.chunks * width; i += blockDim.x) {
    const std::int64_t j = i / width;
    all.add(p, j, of + j * 2 * p.c + i - j * width);
  }
  all.sum = block_reduce(all.sum, scratch);
  all.square = block_reduce(all.square, scratch);
  if (threadIdx.x == 0)
    all.finish(static_cast<double>(p.rows * width), eps, mean + blockIdx.x, rstd + blockIdx.x);
}

// y = (x - mean) (rstd gamma) + beta; mean and rstd are [images, groups], null: 0 and 1.
template <class T, int N>
__global__ void normalise(const T* x, ChannelPlan p, int width, const Compute<T>* mean,
                          const Compute<T>* rstd, const Compute<T>* gamma, const Compute<T>* beta,
                          T* y) {
  const ChannelPlace<N> place(p);
  Compute<T> m[N] = {}, a[N] = {}, b[N] = {};
  if (place.inside) {
    unroll<N>([&](int i) {
      const std::int64_t k = place.channel + i, group = group_of(place, p, i, width);
      m[i] = mean != nullptr ? mean[group] : Compute<T>(0);
      a[i] = rstd != nullptr ? rstd[group] * gamma[k] : gamma[k];
      b[i] = beta[k];
    });
  }
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N];
    load<N>(x + at, v);
    unroll<N>([&](int i) { v[i] = (v[i] - m[i]) * a[i] + b[i]; });
    store<N>(y + at, v);
  });
}

// The sums of dy and of dy z over a block's rows, z = (x - mean) rstd; rstd may be null: 1.
template <class T, int N>
__device__ __forceinline__ void sum_gradients(const ChannelPlace<N>& place, const T* x, const T* dy,
                                              const ChannelPlan& p, int width,
                                              const Compute<T>* mean, const Compute<T>* rstd,
                                              Compute<T>* partials) {
  Compute<T> m[N] = {}, r[N] = {}, sum[2 * N] = {};
  if (place.inside) {
    unroll<N>([&](int i) {
      m[i] = mean[group_of(place, p, i, width)];
      r[i] = rstd != nullptr ? rstd[group_of(place, p, i, width)] : Compute<T>(1);
    });
  }
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N], d[N];
    load<N>(x + at, v);
    load<N>(dy + at, d);
    unroll<N>([&](int i) {
      sum[i] += d[i];
      sum[N + i] += d[i] * (v[i] - m[i]);
    });
  });
  unroll<N>([&](int i) { sum[N + i] *= r[i]; });
  leave_sums(p, place, sum, partials);
}

// Leaves them in partials [images * chunks, 2, c].
template <class T, int N>
__global__ void gradient_sums(const T* x, const T* dy, ChannelPlan p, int width,
                              const Compute<T>* mean, const Compute<T>* rstd,
                              Compute<T>* partials) {
  sum_gradients<T, N>(ChannelPlace<N>(p), x, dy, p, width, mean, rstd, partials);
}

// channel_products() from these partials. A block as in finish_channels.
template <class C>
__global__ void finish_products(const C* partials, ChannelPlan p, double* sums) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
  double total[2];
  column_totals(partials, p.chunks, 2 * p.c, p.c, channel, total);
  if (threadIdx.y != 0 || channel >= p.c) return;
  sums[channel] = total[0];
  sums[p.c + channel] = total[1];
}

// The coefficients a, b, d of a channel (tensor/fused.cpp) from r = rstd and its group's sums of h
// = gamma dy, A, and of h z, r B, over n elements.
template <class C>
__device__ __forceinline__ void leave_coefficients(double r, double sum_h, double sum_hz, double n,
                                                   C gamma, std::int64_t c, C* to) {
  to[0] = static_cast<C>(r * static_cast<double>(gamma));
  to[c] = static_cast<C>(r * r * sum_hz / n);
  to[2 * c] = static_cast<C>(r * sum_h / n);
}

// Batch norm: dgamma, dbeta and the coefficients [3, c], by way of partials.
template <class T, int N>
__global__ void channel_gradients(const T* x, const T* dy, ChannelPlan p, const Compute<T>* mean,
                                  const Compute<T>* rstd, Compute<T>* partials, unsigned* arrivals,
                                  const Compute<T>* gamma, Compute<T>* dgamma, Compute<T>* dbeta,
                                  Compute<T>* coefficients) {
  using C = Compute<T>;
  const ChannelPlace<N> place(p);
  sum_gradients<T, N>(place, x, dy, p, 1, mean, rstd, partials);
  finish_by_last<2>(p, place, partials, arrivals,
                    [&](std::int64_t channel, const double(&total)[2]) {
                      const double g = static_cast<double>(gamma[channel]);
                      dgamma[channel] = static_cast<C>(total[1]);
                      dbeta[channel] = static_cast<C>(total[0]);
                      leave_coefficients(static_cast<double>(rstd[channel]), g * total[0],
                                         g * total[1], static_cast<double>(p.rows), gamma[channel],
                                         p.c, coefficients + channel);
                    });
}

// A block a group of an image, as in finish_groups: its coefficients, of [images, 3, c].
template <class C>
__global__ void finish_group_gradients(const C* partials, ChannelPlan p, int groups, const C* gamma,
                                       const C* rstd, C* coefficients) {
  __shared__ double scratch[32];
  const std::int64_t image = blockIdx.x / groups, width = p.c / groups;
  const std::int64_t begin = (blockIdx.x - image * groups) * width;
  double sum_h = 0, sum_hz = 0;
  for (std::int64_t i = threadIdx.x; i < p.chunks * width; i += blockDim.x) {
    const std::int64_t j = i / width, k = begin + i - j * width;
    const C* of = partials + (image * p.chunks + j) * 2 * p.c + k;
    sum_h += static_cast<double>(gamma[k]) * static_cast<double>(of[0]);
    sum_hz += static_cast<double>(gamma[k]) * static_cast<double>(of[p.c]);
  }
  sum_h = block_reduce(sum_h, scratch);
  sum_hz = block_reduce(sum_hz, scratch);
  for (std::int64_t k = begin + threadIdx.x; k < begin + width; k += blockDim.x)
    leave_coefficients(static_cast<double>(rstd[blockIdx.x]), sum_h, sum_hz,
                       static_cast<double>(p.rows * width), gamma[k], p.c,
                       coefficients + image * 3 * p.c + k);
}

// dx = onto + a dy - b (x - mean) - d, coefficients [images, 3, c]; onto may be null, or dx.
template <class T, int N>
__global__ void input_gradient(const T* x, const T* dy, ChannelPlan p, int width,
                               const Compute<T>* mean, const Compute<T>* coefficients,
                               const T* onto, T* dx) {
  const ChannelPlace<N> place(p);
  Compute<T> m[N] = {}, a[N] = {}, b[N] = {}, d[N] = {};
  if (place.inside) {
    const Compute<T>* of = coefficients + place.image * 3 * p.c + place.channel;
    unroll<N>([&](int i) {
      m[i] = mean[group_of(place, p, i, width)];
      a[i] = of[i];
      b[i] = of[p.c + i];
      d[i] = of[2 * p.c + i];
    });
  }
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N], g[N], there[N] = {};
    load<N>(x + at, v);
    load<N>(dy + at, g);
    if (onto != nullptr) load<N>(onto + at, there);
    unroll<N>([&](int i) { v[i] = there[i] + (a[i] * g[i] - (v[i] - m[i]) * b[i] - d[i]); });
    store<N>(dx + at, v);
  });
}

template <class C>
__global__ void update_channels(Running<C> running, const C* mean, const C* rstd, std::int64_t c) {
  const std::int64_t k = global_index();
  if (k < c) running.move(k, mean[k], rstd[k]);
}

// A thread a channel, one launch where the composition takes five (a small picture's prediction is
// made of such launches).
template <class C>
__global__ void fold_channels(const C* gamma, const C* beta, const C* mean, const C* variance,
                              std::int64_t c, C eps, C* scale, C* shift, C* rstd) {
  for (std::int64_t k = global_index(); k < c; k += global_threads()) {
    rstd[k] = C(1) / std::sqrt(variance[k] + eps);
    scale[k] = gamma[k] * rstd[k];
    shift[k] = beta[k] - mean[k] * scale[k];
  }
}

Grid a_block_a_group(const NormExtents& e) {
  return {dim3(e.images * e.groups), dim3(kThreads)};
}

// y = (x - mean) (rstd gamma) + beta; mean and rstd may be undefined.
void run_normalise(const char* name, const Tensor& x, const NormExtents& e, const Tensor& mean,
                   const Tensor& rstd, const Tensor& gamma, const Tensor& beta, const Tensor& y,
                   cudaStream_t stream) {
  dispatch_packs(name, e.c, {x, y}, [&]<class T, int N>() {
    const ChannelGrid g = map_grid(e, N);
    launch("normalise", normalise<T, N>, g.grid, stream, x, g.plan, e.width(), mean, rstd, gamma,
           beta, y);
  });
}

// The first stages: the partials that moments() and gradient_sums() leave.
template <class T, int N>
Tensor moments_of(const Tensor& x, const ChannelGrid& g, cudaStream_t stream) {
  const Tensor partials =
      Tensor::empty({g.blocks(), 2, g.plan.c}, parameter_dtype(x.dtype()), x.device());
  launch("moments", moments<T, N>, g.grid, stream, x, g.plan, partials);
  return partials;
}
template <class T, int N>
Tensor gradient_sums_of(const Tensor& x, const Tensor& dy, const ChannelGrid& g, int width,
                        const Tensor& mean, const Tensor& rstd, cudaStream_t stream) {
  const Tensor partials =
      Tensor::empty({g.blocks(), 2, g.plan.c}, parameter_dtype(x.dtype()), x.device());
  launch("gradient_sums", gradient_sums<T, N>, g.grid, stream, x, dy, g.plan, width, mean, rstd,
         partials);
  return partials;
}

// What batch and group norm share, behind their names and extents. The first stage of the
// statistics may have been done: `partials`.
NormResult group_like(const char* name, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                      double eps, const NormExtents& e, const Shape& statistics_shape,
                      Tensor partials, const RunningStatistics* running, cudaStream_t stream) {
  check(x.numel() > 0, "{}: the input {} is empty", name, x.shape());
  NormResult r = empty_norm(x, statistics_shape);
  dispatch_packs(name, e.c, {x}, [&]<class T, int N>() {
    const ChannelGrid g = sums_grid<T>(e, N, 2);
    if (!partials.defined()) partials = moments_of<T, N>(x, g, stream);
    check(partials.shape() == Shape{g.blocks(), 2, e.c}, "{}: moments {} are not of {}", name,
          partials.shape(), x.shape());
    if (e.width() == 1 && e.images == 1)
      launch("finish_channels", finish_channels<Compute<T>>, totals_grid<2>(e.c, g.plan.chunks),
             stream, partials, g.plan, eps, r.mean, r.rstd,
             running_of<Compute<T>>(running, eps, e.rows));
    else
      launch("finish_groups", finish_groups<Compute<T>>, a_block_a_group(e), stream, partials,
             g.plan, e.groups, eps, r.mean, r.rstd);
  });
  run_normalise(name, x, e, r.mean, r.rstd, gamma, beta, r.y, stream);
  return r;
}

NormGradients group_like_backward(const char* name, const Tensor& x, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& dy,
                                  const NormExtents& e, const Tensor& onto, unsigned* arrivals,
                                  cudaStream_t stream) {
  NormGradients g = empty_norm_gradients(x, gamma, onto);
  if (x.numel() == 0) return g;
  const Tensor coefficients = Tensor::empty({e.images, 3, e.c}, gamma.dtype(), x.device());
  dispatch_packs(name, e.c, {x, dy, g.dx}, [&]<class T, int N>() {
    using C = Compute<T>;
    const ChannelGrid sums = finished_grid<T>(e, N, 2), map = map_grid(e, N);
    if (e.width() == 1 && e.images == 1) {
      const Tensor partials = Tensor::empty({sums.blocks(), 2, e.c}, gamma.dtype(), x.device());
      launch("channel_gradients", channel_gradients<T, N>, sums.grid, stream, x, dy, sums.plan,
             mean, rstd, partials, arrivals, gamma, g.dgamma, g.dbeta, coefficients);
    } else {
      const Tensor partials = gradient_sums_of<T, N>(x, dy, sums, e.width(), mean, rstd, stream);
      launch("finish_group_gradients", finish_group_gradients<C>, a_block_a_group(e), stream,
             partials, sums.plan, e.groups, gamma, rstd, coefficients);
      add_partials(stream, partials, {{0, g.dbeta}, {e.c, g.dgamma}});
    }
    launch("input_gradient", input_gradient<T, N>, map.grid, stream, x, dy, map.plan, e.width(),
           mean, coefficients, onto, g.dx);
  });
  return g;
}

}  // namespace

NormResult CudaBackend::batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   double eps, const Tensor& moments,
                                   const RunningStatistics* running) {
  Scope scope(*this, costs::batch_norm(x, moments));
  return group_like("batch_norm", x, gamma, beta, eps, batch_extents(x), {x.dim(-1)}, moments,
                    running, stream_);
}

NormGradients CudaBackend::batch_norm_backward(const Tensor& x, const Tensor& gamma,
                                               const Tensor& mean, const Tensor& rstd,
                                               const Tensor& dy, const Tensor& onto) {
  Scope scope(*this, costs::batch_norm_backward(x, onto));
  return group_like_backward("batch_norm_backward", x, gamma, mean, rstd, dy, batch_extents(x),
                             onto, arrivals_, stream_);
}

NormResult CudaBackend::group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   int groups, double eps) {
  Scope scope(*this, costs::group_norm(x));
  return group_like("group_norm", x, gamma, beta, eps, group_extents(x, groups), {x.dim(0), groups},
                    {}, nullptr, stream_);
}

NormGradients CudaBackend::group_norm_backward(const Tensor& x, const Tensor& gamma,
                                               const Tensor& mean, const Tensor& rstd,
                                               const Tensor& dy, int groups) {
  Scope scope(*this, costs::group_norm_backward(x));
  return group_like_backward("group_norm_backward", x, gamma, mean, rstd, dy,
                             group_extents(x, groups), {}, arrivals_, stream_);
}

void CudaBackend::update_running(const RunningStatistics& running, const Tensor& mean,
                                 const Tensor& rstd, double eps, std::int64_t rows) {
  Scope scope(*this, costs::update_running(mean));
  dispatch_float(mean.dtype(), "update_running", [&](auto zero) {
    using C = decltype(zero);
    launch("update_channels", update_channels<C>, grid_for(mean.numel(), 128), stream_,
           running_of<C>(&running, eps, rows), mean, rstd, mean.numel());
  });
}

Backend::FoldedNorm CudaBackend::fold_statistics(const Tensor& gamma, const Tensor& beta,
                                                 const Tensor& mean, const Tensor& variance,
                                                 double eps) {
  Scope scope(*this, costs::fold_statistics(gamma));
  FoldedNorm f{empty_like(gamma), empty_like(gamma), empty_like(gamma)};
  if (gamma.numel() == 0) return f;
  dispatch_float(gamma.dtype(), "fold_statistics", [&](auto zero) {
    launch("fold_statistics", fold_channels<decltype(zero)>, grid_for(gamma.numel(), 64), stream_,
           gamma, beta, mean, variance, gamma.numel(), eps, f.scale, f.shift, f.rstd);
  });
  return f;
}

Tensor CudaBackend::channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift,
                                   const Tensor& centre, const Tensor& rstd) {
  Scope scope(*this, costs::channel_affine(x));
  Tensor y = empty_like(x);
  if (x.numel() > 0)
    run_normalise("channel_affine", x, batch_extents(x), centre, rstd, scale, shift, y, stream_);
  return y;
}

Tensor CudaBackend::channel_moments(const Tensor& x, const Tensor& centre) {
  Scope scope(*this, costs::channel_moments(x));
  const NormExtents e = batch_extents(x);
  if (x.numel() == 0) return Tensor::zeros({2, e.c}, DType::f64, device());
  Tensor sums = empty({2, e.c}, DType::f64);
  dispatch_packs("channel_moments", e.c, {x}, [&]<class T, int N>() {
    const ChannelGrid g = sums_grid<T>(e, N, 2);
    launch("finish_moments", finish_moments<Compute<T>>, totals_grid<2>(e.c, g.plan.chunks),
           stream_, moments_of<T, N>(x, g, stream_), g.plan, centre, sums);
  });
  return sums;
}

Tensor CudaBackend::channel_products(const Tensor& x, const Tensor& centre, const Tensor& dy) {
  Scope scope(*this, costs::channel_products(x));
  const NormExtents e = batch_extents(x);
  if (x.numel() == 0) return Tensor::zeros({2, e.c}, DType::f64, device());
  Tensor sums = empty({2, e.c}, DType::f64);
  dispatch_packs("channel_products", e.c, {x, dy}, [&]<class T, int N>() {
    const ChannelGrid g = sums_grid<T>(e, N, 2);
    launch("finish_products", finish_products<Compute<T>>, totals_grid<2>(e.c, g.plan.chunks),
           stream_, gradient_sums_of<T, N>(x, dy, g, 1, centre, {}, stream_), g.plan, sums);
  });
  return sums;
}

Tensor CudaBackend::channel_gradient(const Tensor& x, const Tensor& centre, const Tensor& dy,
                                     const Tensor& coefficients) {
  Scope scope(*this, costs::channel_gradient(x));
  Tensor dx = empty_like(dy);
  if (x.numel() == 0) return dx;
  const NormExtents e = batch_extents(x);
  dispatch_packs("channel_gradient", e.c, {x, dy, dx}, [&]<class T, int N>() {
    const ChannelGrid g = map_grid(e, N);
    launch("input_gradient", input_gradient<T, N>, g.grid, stream_, x, dy, g.plan, 1, centre,
           coefficients, Tensor(), dx);
  });
  return dx;
}

}  // namespace nextgrad::cuda
