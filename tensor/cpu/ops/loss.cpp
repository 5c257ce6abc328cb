// Cross entropy of logits [pixels, K]: chunks of pixels are the threads' tasks, each pixel's K
// logits stay in L1 for its three passes (largest, sum of exponentials, loss or gradient).
#include "tensor/cpu/ops/loss.h"

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"

namespace nextgrad::cpu {

constexpr std::int64_t kPixelsPerTask = 1024;  // pixels whose loss is summed by one task

CrossEntropyResult CpuPrimitives::cross_entropy(const Tensor& logits, const CrossEntropyTarget& t) {
  const std::int64_t k = logits.dim(-1);
  OpScope scope(costs::cross_entropy(logits, t.labels));
  return dispatch_float(logits.dtype(), "cross_entropy", [&]<class T>(T) {
    const Target<T> target(t, k);
    Tensor log_sum = Tensor::empty(t.labels.shape(), logits.dtype());
    const T* v = logits.data<T>();
    const std::int32_t* label = t.labels.data<std::int32_t>();
    T* lse = log_sum.data<T>();
    const auto loss_of = [&](std::int64_t begin, std::int64_t end) {
      double sum = 0;
      for (std::int64_t i = begin; i < end; ++i) {
        lse[i] = T(0);
        if (label[i] == target.ignore) continue;
        lse[i] = log_sum_exp(v + i * k, k);
        sum += pixel_loss(v + i * k, k, label[i], lse[i], target);
      }
      return sum;
    };
    return target.result(sum_of_chunks(t.labels.numel(), kPixelsPerTask, loss_of), log_sum);
  });
}

Tensor CpuPrimitives::cross_entropy_backward(const Tensor& logits, const CrossEntropyTarget& t,
                                             const CrossEntropyResult& r, const Tensor& dloss) {
  const std::int64_t k = logits.dim(-1), pixels = t.labels.numel();
  OpScope scope(costs::cross_entropy_backward(logits, t.labels));
  Tensor dlogits = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  const std::int32_t* label = t.labels.data<std::int32_t>();
  const double scale = dloss.item() / r.normaliser.item();
  dispatch_float(logits.dtype(), "cross_entropy_backward", [&]<class T>(T) {
    const Target<T> target(t, k);
    const T *v = logits.data<T>(), *lse = r.log_sum.data<T>();
    T* dv = dlogits.data<T>();
    parallel_each(pixels, kPixelsPerTask, [&](std::int64_t i) {
      if (label[i] == target.ignore) {
        std::fill_n(dv + i * k, k, T(0));
      } else {
        pixel_gradient(v + i * k, k, label[i], lse[i], target, scale, dv + i * k);
      }
    });
  });
  return dlogits;
}

}  // namespace nextgrad::cpu
