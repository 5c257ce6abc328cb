// Batch and group norm in two stages, see channel_statistics.h; batch norm is group norm of one
// image, a channel a group. Bound: memory; x is read twice and y written (backward: x and dy twice,
// dx written).
#include <algorithm>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channel_statistics.h"
#include "cuda/ops/norm_kernels.h"

namespace nextgrad::cuda {
namespace {

constexpr int kMapRows = 16;  // rows of a thread that only maps

struct Extents {
  std::int64_t images, rows, c;
  int groups;
  int width() const { return static_cast<int>(c / groups); }
};
Extents batch_extents(const Tensor& x) {
  const std::int64_t c = x.dim(-1);
  return {1, c == 0 ? 0 : x.numel() / c, c, static_cast<int>(c)};
}
Extents group_extents(const Tensor& x, int groups) {
  const std::int64_t images = x.dim(0), c = x.dim(-1);
  check(groups > 0 && c % groups == 0, "group_norm: {} channels in {} groups", c, groups);
  return {images, images * c == 0 ? 0 : x.numel() / (images * c), c, groups};
}
dim3 group_blocks(const Extents& e) {
  return dim3(static_cast<unsigned>(e.images * e.groups));
}

// mean and rstd [images, groups] of x, whose first stage may have been done: `partials`.
template <class T>
void find_statistics(const Tensor& x, const Extents& e, double eps, Tensor partials, Tensor& mean,
                     Tensor& rstd, cudaStream_t stream) {
  using C = Compute<T>;
  const T* from = x.data<T>();
  with_pack<T>(packs_fit<T>(e.c, from), [&](auto width) {
    constexpr int N = decltype(width)::value;
    const ChannelGrid g = moments_grid<T>(e.images, e.rows, e.c, N);
    if (!partials.defined()) {
      partials = Tensor::empty({g.blocks(), 2, e.c}, mean.dtype(), x.device());
      launch("moments", moments<T, N>, g.grid, stream, from, g.plan, partials.data<C>());
    }
    if (e.width() == 1 && e.images == 1) {
      finish_statistics(partials, g.plan, eps, mean, rstd, stream);
    } else {
      launch("finish_groups", finish_groups<C>, {group_blocks(e), dim3(kThreads)}, stream,
             partials.data<C>(), g.plan, e.groups, eps, mean.data<C>(), rstd.data<C>());
    }
  });
}

template <class T>
void run_normalise(const Tensor& x, const Extents& e, const Tensor& mean, const Tensor& rstd,
                   const Tensor& gamma, const Tensor& beta, Tensor& y, cudaStream_t stream) {
  using C = Compute<T>;
  const T* from = x.data<T>();
  T* to = y.data<T>();
  with_pack<T>(packs_fit<T>(e.c, from, to), [&](auto width) {
    constexpr int N = decltype(width)::value;
    const ChannelGrid g = channel_grid(e.images, e.rows, e.c, N, kMapRows);
    launch("normalise", normalise<T, N>, g.grid, stream, from, g.plan, e.width(),
           data_or_null<C>(mean), data_or_null<C>(rstd), gamma.data<C>(), beta.data<C>(), to);
  });
}

// From the partials of gradient_sums: coefficients [images, 3, c], dgamma, dbeta.
template <class C>
void finish_gradients(const Tensor& partials, const ChannelPlan& p, const Extents& e,
                      const Tensor& gamma, const Tensor& rstd, Tensor& coefficients,
                      NormGradients& g, cudaStream_t stream) {
  if (e.width() == 1 && e.images == 1) {
    launch("finish_channel_gradients", finish_channel_gradients<C>, totals_grid<2>(e.c), stream,
           partials.data<C>(), p, gamma.data<C>(), rstd.data<C>(), g.dgamma.data<C>(),
           g.dbeta.data<C>(), coefficients.data<C>());
    return;
  }
  const Tensor totals = Tensor::empty({e.images, 2, e.c}, DType::f64, partials.device());
  launch("image_totals", image_totals<C>,
         totals_grid<2>(e.c, std::min<std::int64_t>(e.images, 65535)), stream, partials.data<C>(),
         p, totals.data<double>());
  launch("group_coefficients", group_coefficients<C>, {group_blocks(e), dim3(128)}, stream,
         totals.data<double>(), p, e.groups, gamma.data<C>(), rstd.data<C>(),
         coefficients.data<C>());
  launch("group_parameters", group_parameters<C>, grid_for(e.c), stream, totals.data<double>(), p,
         e.groups, rstd.data<C>(), g.dgamma.data<C>(), g.dbeta.data<C>());
}

template <class T>
void norm_gradients(const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                    const Tensor& dy, const Extents& e, NormGradients& g, cudaStream_t stream) {
  using C = Compute<T>;
  const T *from = x.data<T>(), *from_dy = dy.data<T>();
  T* to = g.dx.data<T>();
  with_pack<T>(packs_fit<T>(e.c, from, from_dy, to), [&](auto width) {
    constexpr int N = decltype(width)::value;
    const ChannelGrid sums = moments_grid<T>(e.images, e.rows, e.c, N);
    const Tensor partials = Tensor::empty({sums.blocks(), 2, e.c}, gamma.dtype(), x.device());
    Tensor coefficients = Tensor::empty({e.images, 3, e.c}, gamma.dtype(), x.device());
    launch("gradient_sums", gradient_sums<T, N>, sums.grid, stream, from, from_dy, sums.plan,
           e.width(), mean.data<C>(), partials.data<C>());
    finish_gradients<C>(partials, sums.plan, e, gamma, rstd, coefficients, g, stream);
    const ChannelGrid map = channel_grid(e.images, e.rows, e.c, N, kMapRows);
    launch("input_gradient", input_gradient<T, N>, map.grid, stream, from, from_dy, map.plan,
           e.width(), mean.data<C>(), coefficients.data<C>(), to);
  });
}

// What batch and group norm share, behind their names and their extents.
NormResult group_like(const char* name, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                      double eps, const Extents& e, const Shape& statistics_shape,
                      const Tensor& partials, cudaStream_t stream) {
  check(x.numel() > 0, "{}: the input {} is empty", name, x.shape().str());
  const DType parameters = parameter_dtype(x.dtype());
  NormResult r{Tensor::empty(x.shape(), x.dtype(), x.device()),
               Tensor::empty(statistics_shape, parameters, x.device()),
               Tensor::empty(statistics_shape, parameters, x.device())};
  dispatch_activation(x.dtype(), name, [&](auto zero) {
    using T = decltype(zero);
    find_statistics<T>(x, e, eps, partials, r.mean, r.rstd, stream);
    run_normalise<T>(x, e, r.mean, r.rstd, gamma, beta, r.y, stream);
  });
  return r;
}

NormGradients group_like_backward(const char* name, const Tensor& x, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& dy,
                                  const Extents& e, cudaStream_t stream) {
  NormGradients g{Tensor::empty(x.shape(), x.dtype(), x.device()),
                  Tensor::empty(gamma.shape(), gamma.dtype(), x.device()),
                  Tensor::empty(gamma.shape(), gamma.dtype(), x.device())};
  if (x.numel() == 0) {
    g.dgamma.fill_(0);
    g.dbeta.fill_(0);
    return g;
  }
  dispatch_activation(x.dtype(), name, [&](auto zero) {
    norm_gradients<decltype(zero)>(x, gamma, mean, rstd, dy, e, g, stream);
  });
  return g;
}

}  // namespace

void finish_statistics(const Tensor& partials, const ChannelPlan& plan, double eps, Tensor& mean,
                       Tensor& rstd, cudaStream_t stream) {
  dispatch_float(mean.dtype(), "finish_statistics", [&](auto zero) {
    using C = decltype(zero);
    launch("finish_channels", finish_channels<C>, totals_grid<2>(plan.c), stream,
           partials.data<C>(), plan, eps, mean.data<C>(), rstd.data<C>());
  });
}

NormResult CudaBackend::batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   double eps) {
  const Tensor partials = statistics_.take(x);
  Scope scope(*this, "batch_norm", 7.0 * static_cast<double>(x.numel()),
              (partials.defined() ? 2.0 : 3.0) * static_cast<double>(x.nbytes()));
  return group_like("batch_norm", x, gamma, beta, eps, batch_extents(x), {x.dim(-1)}, partials,
                    stream_);
}

NormGradients CudaBackend::batch_norm_backward(const Tensor& x, const Tensor& gamma,
                                               const Tensor& mean, const Tensor& rstd,
                                               const Tensor& dy) {
  Scope scope(*this, "batch_norm_backward", 9.0 * static_cast<double>(x.numel()),
              5.0 * static_cast<double>(x.nbytes()));
  return group_like_backward("batch_norm_backward", x, gamma, mean, rstd, dy, batch_extents(x),
                             stream_);
}

void CudaBackend::update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                                 const Tensor& rstd, double eps, std::int64_t rows, double momentum,
                                 Tensor* batches) {
  Scope scope(*this, "update_running", 0, 6.0 * static_cast<double>(mean.nbytes()));
  const double unbiased =
      rows > 1 ? static_cast<double>(rows) / static_cast<double>(rows - 1) : 1.0;
  std::int64_t* counter = batches != nullptr ? batches->data<std::int64_t>() : nullptr;
  dispatch_float(running_mean.dtype(), "update_running", [&](auto zero) {
    using C = decltype(zero);
    launch("update_channels", update_channels<C>, grid_for(mean.numel(), 128), stream_,
           running_mean.data<C>(), running_var.data<C>(), mean.data<C>(), rstd.data<C>(),
           mean.numel(), eps, unbiased, momentum, counter);
  });
  running_mean.bump_version();
  running_var.bump_version();
  if (batches != nullptr) batches->bump_version();
}

Tensor CudaBackend::channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift,
                                   const Tensor& centre) {
  Scope scope(*this, "channel_affine", 2.0 * static_cast<double>(x.numel()),
              2.0 * static_cast<double>(x.nbytes()));
  Tensor y = empty_like(x);
  if (x.numel() == 0) return y;
  dispatch_activation(x.dtype(), "channel_affine", [&](auto zero) {
    run_normalise<decltype(zero)>(x, batch_extents(x), centre, Tensor(), scale, shift, y, stream_);
  });
  return y;
}

NormResult CudaBackend::group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   int groups, double eps) {
  Scope scope(*this, "group_norm", 7.0 * static_cast<double>(x.numel()),
              3.0 * static_cast<double>(x.nbytes()));
  return group_like("group_norm", x, gamma, beta, eps, group_extents(x, groups), {x.dim(0), groups},
                    {}, stream_);
}

NormGradients CudaBackend::group_norm_backward(const Tensor& x, const Tensor& gamma,
                                               const Tensor& mean, const Tensor& rstd,
                                               const Tensor& dy, int groups) {
  Scope scope(*this, "group_norm_backward", 9.0 * static_cast<double>(x.numel()),
              5.0 * static_cast<double>(x.nbytes()));
  return group_like_backward("group_norm_backward", x, gamma, mean, rstd, dy,
                             group_extents(x, groups), stream_);
}

}  // namespace nextgrad::cuda
