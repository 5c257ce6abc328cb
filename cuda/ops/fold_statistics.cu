// Batch norm's statistics as a scale and a shift: a thread a channel, one launch where the
// composition takes five (a small picture's prediction is made of such launches).
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {
namespace {

template <class T>
struct Channels {
  const T *gamma, *beta, *mean, *variance;
  T *scale, *shift, *rstd;
};

template <class T>
__global__ void fold_kernel(Channels<T> p, std::int64_t channels, T eps) {
  for (std::int64_t c = global_index(); c < channels; c += global_threads()) {
    const T variance = p.variance[c] + eps;
    T rstd = 0;
    if constexpr (std::is_same_v<T, float>)
      rstd = 1.0f / sqrtf(variance);
    else
      rstd = 1.0 / sqrt(variance);
    const T scale = p.gamma[c] * rstd;
    p.rstd[c] = rstd;
    p.scale[c] = scale;
    p.shift[c] = p.beta[c] - p.mean[c] * scale;
  }
}

}  // namespace

Backend::FoldedNorm CudaBackend::fold_statistics(const Tensor& gamma, const Tensor& beta,
                                                 const Tensor& mean, const Tensor& variance,
                                                 double eps) {
  Scope scope(*this, "fold_statistics", 4.0 * static_cast<double>(gamma.numel()),
              7.0 * static_cast<double>(gamma.nbytes()));
  FoldedNorm f{empty_like(gamma), empty_like(gamma), empty_like(gamma)};
  if (gamma.numel() == 0) return f;
  dispatch_float(gamma.dtype(), "fold_statistics", [&](auto zero) {
    using T = decltype(zero);
    const Channels<T> p{gamma.data<T>(),   beta.data<T>(),    mean.data<T>(),  variance.data<T>(),
                        f.scale.data<T>(), f.shift.data<T>(), f.rstd.data<T>()};
    launch("fold_statistics", fold_kernel<T>, grid_for(gamma.numel(), 64), stream_, p,
           gamma.numel(), static_cast<T>(eps));
  });
  return f;
}

}  // namespace nextgrad::cuda
