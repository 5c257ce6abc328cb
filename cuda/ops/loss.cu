// Cross entropy of logits [pixels, K]: a team of threads takes a pixel (row_team.h), whose logits
// stay in the first-level cache for its passes (largest, sum of exponentials, loss or gradient).
// Losses are summed per block in double, then over blocks in order.
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/row_team.h"

namespace nextgrad::cuda {
namespace {

// Labels and the target distribution: hot on the label plus smooth on every class, times the
// class's weight (PyTorch's CrossEntropyLoss).
template <class C>
struct Target {
  const std::int32_t* labels;
  const C* weights;  // null: 1
  long long ignore;
  double hot, smooth;  // before weights
  std::int64_t pixels, k;
  Fault* fault;

  // The label of a pixel, -1 if it doesn't count.
  __device__ __forceinline__ int label(std::int64_t pixel, bool first_lane) const {
    const int label = labels[pixel];
    if (label == ignore) return -1;
    if (label >= 0 && label < k) return label;
    if (first_lane) report(fault, Fault::label, label, k);
    return -1;
  }
  __device__ __forceinline__ double weight(std::int64_t c) const {
    return weights != nullptr ? static_cast<double>(weights[c]) : 1.0;
  }
  __device__ __forceinline__ C hot_of(std::int64_t c) const {
    return static_cast<C>(weight(c) * hot);
  }
  __device__ __forceinline__ C smooth_of(std::int64_t c) const {
    return weights != nullptr ? static_cast<C>(weight(c) * smooth) : static_cast<C>(smooth);
  }
};

// log_sum per pixel; partials [blocks, 2]: sums of losses and of the labels' weights.
template <class T>
__global__ void pixel_losses(const T* logits, Target<Compute<T>> target, int lanes,
                             Compute<T>* log_sum, double* partials) {
  using C = Compute<T>;
  __shared__ C scratch[32];
  __shared__ double sums[32];
  double loss = 0, weight = 0;
  for (TeamRows team(lanes); team.more(target.pixels); team.next()) {
    const bool inside = team.row < target.pixels;
    const int label = inside ? target.label(team.row, team.lane == 0) : -1;
    const T* v = logits + team.row * target.k;
    C most = -static_cast<C>(INFINITY), sum = 0, smoothed = 0;
    if (label >= 0) {
      for (std::int64_t c = team.lane; c < target.k; c += lanes) {
        const C x = widen(v[c]);
        most = x > most ? x : most;
      }
    }
    most = team.combine(most, scratch, Max());
    if (label >= 0) {
      for (std::int64_t c = team.lane; c < target.k; c += lanes)
        sum += exponential(widen(v[c]) - most);
    }
    const C lse = most + logarithm(team.combine(sum, scratch));
    if (label >= 0 && target.smooth != 0) {
      for (std::int64_t c = team.lane; c < target.k; c += lanes)
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
  loss = block_reduce(loss, sums);
  weight = block_reduce(weight, sums);
  if (threadIdx.x != 0) return;
  partials[2 * blockIdx.x] = loss;
  partials[2 * blockIdx.x + 1] = weight;
}

// `fixed`: what the sum is divided by, 0: the summed weights.
template <class C>
__global__ void finish_loss(const double* partials, int n, double fixed, C* loss,
                            double* normaliser) {
  __shared__ double scratch[32];
  double sum = 0, weight = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
    sum += partials[2 * i];
    weight += partials[2 * i + 1];
  }
  sum = block_reduce(sum, scratch);
  weight = block_reduce(weight, scratch);
  if (threadIdx.x != 0) return;
  const double by = fixed > 0 ? fixed : weight > 1e-12 ? weight : 1e-12;
  *normaliser = by;
  *loss = static_cast<C>(sum / by);
}

// dlogits = scale (total softmax - smooth - hot at the label), scale = dloss / normaliser.
template <class T>
__global__ void pixel_gradients(const T* logits, Target<Compute<T>> target, int lanes,
                                const Compute<T>* log_sum, const double* normaliser,
                                const Compute<T>* dloss, T* dlogits) {
  using C = Compute<T>;
  __shared__ double scratch[32];
  const double scale = static_cast<double>(*dloss) / *normaliser;
  double smooth_sum = 0;
  if (target.smooth != 0) {
    for (std::int64_t c = threadIdx.x; c < target.k; c += kThreads)
      smooth_sum += static_cast<double>(target.smooth_of(c));
    smooth_sum = block_reduce(smooth_sum, scratch);
  }
  const C s = static_cast<C>(scale);
  for (TeamRows team(lanes); team.more(target.pixels); team.next()) {
    if (team.row >= target.pixels) continue;
    const int label = target.label(team.row, team.lane == 0);
    const T* v = logits + team.row * target.k;
    T* to = dlogits + team.row * target.k;
    if (label < 0) {
      for (std::int64_t c = team.lane; c < target.k; c += lanes) to[c] = narrow<T>(C(0));
      continue;
    }
    const double hot = static_cast<double>(target.hot_of(label));
    const C total = static_cast<C>(scale * (hot + smooth_sum));
    const C at_label = static_cast<C>(scale * hot), lse = log_sum[team.row];
    for (std::int64_t c = team.lane; c < target.k; c += lanes) {
      C d = total * exponential(widen(v[c]) - lse);
      if (target.smooth != 0) d -= s * target.smooth_of(c);
      if (c == label) d -= at_label;
      to[c] = narrow<T>(d);
    }
  }
}

constexpr std::int64_t kBlocks = 2048;  // at most: their partial sums are one block's work

double loss_work(const Tensor& labels, std::int64_t k) {
  return 6.0 * static_cast<double>(labels.numel()) * static_cast<double>(k);
}

template <class C>
Target<C> target_of(const Tensor& logits, const Tensor& labels, const Tensor& weights,
                    const CrossEntropyOptions& o, Fault* fault) {
  const std::int64_t k = logits.dim(-1);
  return {labels.data<std::int32_t>(),
          data_or_null<C>(weights),
          o.ignore_label,
          1 - o.label_smoothing,
          o.label_smoothing / static_cast<double>(k),
          labels.numel(),
          k,
          fault};
}

}  // namespace

CrossEntropyResult CudaBackend::cross_entropy(const Tensor& logits, const Tensor& labels,
                                              const Tensor& weights, const CrossEntropyOptions& o) {
  const std::int64_t k = logits.dim(-1), pixels = labels.numel();
  Scope scope(*this, "cross_entropy", loss_work(labels, k),
              static_cast<double>(logits.nbytes() + labels.nbytes()));
  const DType parameters = parameter_dtype(logits.dtype());
  CrossEntropyResult r{empty({}, parameters), empty(labels.shape(), parameters),
                       empty({}, DType::f64)};
  using Normalise = CrossEntropyOptions::Normalise;
  const double all = std::max(static_cast<double>(pixels), 1e-12);
  const double fixed = o.normalise == Normalise::none ? 1 : o.normalise == Normalise::all ? all : 0;
  const int lanes = team_lanes(k);
  const Grid grid = team_grid(pixels, lanes, kBlocks);
  const Tensor partials = empty({grid.blocks.x, 2}, DType::f64);
  dispatch_activation(logits.dtype(), "cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    if (pixels > 0) {
      launch("pixel_losses", pixel_losses<T>, grid, stream_, logits.data<T>(),
             target_of<C>(logits, labels, weights, o, fault_), lanes, r.log_sum.data<C>(),
             partials.data<double>());
    }
    launch("finish_loss", finish_loss<C>, {dim3(1), dim3(kThreads)}, stream_,
           partials.data<double>(), pixels > 0 ? static_cast<int>(grid.blocks.x) : 0, fixed,
           r.loss.data<C>(), r.normaliser.data<double>());
  });
  return r;
}

Tensor CudaBackend::cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                           const Tensor& weights, const CrossEntropyOptions& o,
                                           const CrossEntropyResult& r, const Tensor& dloss) {
  const std::int64_t k = logits.dim(-1), pixels = labels.numel();
  Scope scope(*this, "cross_entropy_backward", loss_work(labels, k),
              static_cast<double>(2 * logits.nbytes() + labels.nbytes()));
  Tensor dlogits = empty_like(logits);
  if (logits.numel() == 0) return dlogits;
  const int lanes = team_lanes(k);
  dispatch_activation(logits.dtype(), "cross_entropy_backward", [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    launch("pixel_gradients", pixel_gradients<T>, team_grid(pixels, lanes, 4 * kBlocks), stream_,
           logits.data<T>(), target_of<C>(logits, labels, weights, o, fault_), lanes,
           r.log_sum.data<C>(), r.normaliser.data<double>(), dloss.data<C>(), dlogits.data<T>());
  });
  return dlogits;
}

}  // namespace nextgrad::cuda
