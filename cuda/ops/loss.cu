// Cross entropy of logits [pixels, K]: a team of threads takes a pixel (row_team.h), whose logits
// stay in the first-level cache for its passes (largest, sum of exponentials, loss or gradient).
// Losses are summed per block in double, then over blocks in order.
#include <cmath>

#include "cuda/kit/row_team.h"
#include "cuda/ops/loss.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

// log_sum per pixel; partials [blocks, 2]: sums of losses and of the labels' weights.
template <class T>
__global__ void pixel_losses(const T* logits, Target<Compute<T>> target, std::int64_t pixels,
                             int lanes, Compute<T>* log_sum, double* partials) {
  using C = Compute<T>;
  __shared__ C scratch[32];
  double loss = 0, weight = 0;
  for (TeamRows team(lanes); team.more(pixels); team.next()) {
    const bool inside = team.row < pixels;
    const int label = inside ? target.label(team.row, team.lane == 0) : -1;
    const int end = label >= 0 ? target.k : 0;
    const T* v = logits + team.row * target.k;
    C most = -static_cast<C>(INFINITY), sum = 0, smoothed = 0;
    for (int c = team.lane; c < end; c += lanes) {
      const C x = widen(v[c]);
      most = x > most ? x : most;
    }
    most = team.combine(most, scratch, Max());
    for (int c = team.lane; c < end; c += lanes) sum += std::exp(widen(v[c]) - most);
    const C lse = most + std::log(team.combine(sum, scratch));
    if (target.smooth != 0) {
      for (int c = team.lane; c < end; c += lanes)
        smoothed += target.smooth_of(c) * (lse - widen(v[c]));
    }
    smoothed = team.combine(smoothed, scratch);
    if (team.lane != 0 || !inside) continue;
    log_sum[team.row] = label >= 0 ? lse : C(0);
    if (label < 0) continue;
    loss += static_cast<double>(target.hot_of(label)) * static_cast<double>(lse - widen(v[label])) +
            static_cast<double>(smoothed);
    weight += target.weight(label);
  }
  leave_losses(loss, weight, partials);
}

// The partial sums' sums, in one block; `divisor` is 0 where the weights' sum is the normaliser.
template <class C>
__global__ void finish_loss(const double* partials, std::int64_t n, double divisor, C* loss,
                            double* normaliser) {
  __shared__ double scratch[32];
  double sum = 0, weight = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    sum += partials[2 * i];
    weight += partials[2 * i + 1];
  }
  sum = block_reduce(sum, scratch);
  weight = block_reduce(weight, scratch);
  if (threadIdx.x != 0) return;
  if (divisor == 0) divisor = weight > 1e-12 ? weight : 1e-12;
  *normaliser = divisor;
  *loss = static_cast<C>(sum / divisor);
}

// dlogits = scale (total softmax - smooth - hot at the label), scale = dloss / normaliser.
template <class T>
__global__ void pixel_gradients(const T* logits, Target<Compute<T>> target, std::int64_t pixels,
                                int lanes, const Compute<T>* log_sum, const double* normaliser,
                                const Compute<T>* dloss, T* dlogits) {
  using C = Compute<T>;
  __shared__ double scratch[32];
  const double scale = static_cast<double>(*dloss) / *normaliser;
  const double smooth_sum = target.smooth_sum(scratch);
  const C s = static_cast<C>(scale);
  for (TeamRows team(lanes); team.more(pixels); team.next()) {
    if (team.row >= pixels) continue;
    const int label = target.label(team.row, team.lane == 0);
    const T* v = logits + team.row * target.k;
    T* to = dlogits + team.row * target.k;
    if (label < 0) {
      for (int c = team.lane; c < target.k; c += lanes) to[c] = narrow<T>(C(0));
      continue;
    }
    const double hot = static_cast<double>(target.hot_of(label));
    const C total = static_cast<C>(scale * (hot + smooth_sum));
    const C at_label = static_cast<C>(scale * hot), lse = log_sum[team.row];
    for (int c = team.lane; c < target.k; c += lanes) {
      C d = total * std::exp(widen(v[c]) - lse);
      if (target.smooth != 0) d -= s * target.smooth_of(c);
      if (c == label) d -= at_label;
      to[c] = narrow<T>(d);
    }
  }
}

constexpr std::int64_t kBlocks = 2048;  // at most: their partial sums are one block's work

}  // namespace

void CudaBackend::finish_cross_entropy(const Tensor& partials, const CrossEntropyTarget& t,
                                       const CrossEntropyResult& r) {
  dispatch_float(r.loss.dtype(), "cross_entropy", [&](auto zero) {
    launch("finish_loss", finish_loss<decltype(zero)>, {dim3(1), dim3(kThreads)}, stream_, partials,
           partials.dim(0), loss_divisor(t.labels.numel(), t.options), r.loss, r.normaliser);
  });
}

CrossEntropyResult CudaBackend::cross_entropy(const Tensor& logits, const CrossEntropyTarget& t) {
  const std::int64_t pixels = t.labels.numel();
  Scope scope(*this, costs::cross_entropy(logits, t.labels));
  const DType parameters = parameter_dtype(logits.dtype());
  CrossEntropyResult r{empty({}, parameters), empty(t.labels.shape(), parameters),
                       empty({}, DType::f64)};
  const int lanes = team_lanes(logits.dim(-1));
  const Grid grid = team_grid(pixels, lanes, kBlocks);
  const Tensor partials = empty({pixels > 0 ? grid.blocks.x : 0, 2}, DType::f64);
  dispatch_activation(logits.dtype(), "cross_entropy", [&]<class T>() {
    const Target<Compute<T>> target(logits, t, fault_);
    if (pixels > 0)
      launch("pixel_losses", pixel_losses<T>, grid, stream_, logits, target, pixels, lanes,
             r.log_sum, partials);
  });
  finish_cross_entropy(partials, t, r);
  return r;
}

Tensor CudaBackend::cross_entropy_backward(const Tensor& logits, const CrossEntropyTarget& t,
                                           const CrossEntropyResult& r, const Tensor& dloss) {
  const std::int64_t pixels = t.labels.numel();
  Scope scope(*this, costs::cross_entropy_backward(logits, t.labels));
  Tensor dlogits = empty_like(logits);
  if (logits.numel() == 0) return dlogits;
  const int lanes = team_lanes(logits.dim(-1));
  dispatch_activation(logits.dtype(), "cross_entropy_backward", [&]<class T>() {
    launch("pixel_gradients", pixel_gradients<T>, team_grid(pixels, lanes, 4 * kBlocks), stream_,
           logits, Target<Compute<T>>(logits, t, fault_), pixels, lanes, r.log_sum, r.normaliser,
           dloss, dlogits);
  });
  return dlogits;
}

}  // namespace nextgrad::cuda
