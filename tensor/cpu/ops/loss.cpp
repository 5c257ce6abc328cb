// Cross entropy of logits [pixels, K]: chunks of pixels are the threads' tasks, each pixel's K
// logits stay in L1 for its three passes (largest, sum of exponentials, loss or gradient).
#include "tensor/cpu/ops/loss.h"

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kChunk = 1024;  // pixels whose loss is summed by one task

template <class T>
double loss_sum(const T* logits, const std::int32_t* labels, std::int64_t pixels, std::int64_t k,
                const Target<T>& target, std::int64_t ignore, T* log_sum) {
  std::vector<double> partial(static_cast<std::size_t>((pixels + kChunk - 1) / kChunk));
  parallel_for(static_cast<std::int64_t>(partial.size()), 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t t = begin; t < end; ++t) {
                   double sum = 0;
                   for (std::int64_t i = t * kChunk; i < std::min(pixels, (t + 1) * kChunk); ++i) {
                     log_sum[i] = T(0);
                     if (labels[i] == ignore) continue;
                     log_sum[i] = log_sum_exp(logits + i * k, k);
                     sum += pixel_loss(logits + i * k, k, labels[i], log_sum[i], target);
                   }
                   partial[static_cast<std::size_t>(t)] = sum;
                 }
               });
  return sum_in_order(partial);
}

}  // namespace

CrossEntropyResult CpuBackend::cross_entropy(const Tensor& logits, const Tensor& labels,
                                             const Tensor& weights, const CrossEntropyOptions& o) {
  const std::int64_t k = logits.dim(-1), pixels = labels.numel();
  OpScope scope("cross_entropy", loss_flops(labels, k),
                static_cast<double>(logits.nbytes() + labels.nbytes()));
  const std::int32_t* at = labels.data<std::int32_t>();
  return dispatch_float(logits.dtype(), "cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    const double normaliser = check_labels<T>(at, pixels, k, weights, o);
    Tensor log_sum = Tensor::empty(labels.shape(), logits.dtype(), logits.device());
    const double sum = loss_sum(logits.data<T>(), at, pixels, k, Target<T>(k, weights, o),
                                o.ignore_label, log_sum.data<T>());
    return CrossEntropyResult{Tensor::scalar(sum / normaliser, logits.dtype(), logits.device()),
                              log_sum, Tensor::scalar(normaliser, DType::f64)};
  });
}

Tensor CpuBackend::cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                          const Tensor& weights, const CrossEntropyOptions& o,
                                          const CrossEntropyResult& r, const Tensor& dloss) {
  const std::int64_t k = logits.dim(-1), pixels = labels.numel();
  OpScope scope("cross_entropy_backward", loss_flops(labels, k),
                static_cast<double>(2 * logits.nbytes() + labels.nbytes()));
  Tensor dlogits = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  const std::int32_t* label = labels.data<std::int32_t>();
  const double scale = dloss.item() / r.normaliser.item();
  dispatch_float(logits.dtype(), "cross_entropy_backward", [&](auto zero) {
    using T = decltype(zero);
    check_labels<T>(label, pixels, k, weights, o);
    const Target<T> target(k, weights, o);
    const T *v = logits.data<T>(), *lse = r.log_sum.data<T>();
    T* dv = dlogits.data<T>();
    parallel_for(pixels, kChunk, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        if (label[i] == o.ignore_label) {
          std::fill_n(dv + i * k, k, T(0));
        } else {
          pixel_gradient(v + i * k, k, label[i], lse[i], target, scale, dv + i * k);
        }
      }
    });
  });
  return dlogits;
}

}  // namespace nextgrad::cpu
