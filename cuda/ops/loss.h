// What plain and upsampled cross entropy share: labels, the target distribution, blocks' sums.
#pragma once

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {

// e^(v - top), v not above top by much: a GPU's exponential is that of base 2, and what exp() does
// for the last bit of large ones is not needed. The difference comes first, as both may be large.
template <class C>
__device__ __forceinline__ C exp_below(C v, C top) {
  return std::exp2((v - top) * C(1.44269504088896340736));
}

// The target distribution: hot on the label plus smooth on every class, times the class's weight
// (PyTorch's CrossEntropyLoss).
template <class C>
struct Target {
  const std::int32_t* labels;
  const C* weights;  // null: 1
  long long ignore;
  int k;
  double hot, smooth;  // before weights
  Fault* fault;

  Target(const Tensor& logits, const CrossEntropyTarget& t, Fault* fault_)
      : labels(t.labels.data<std::int32_t>()),
        weights(t.weights.defined() ? t.weights.data<C>() : nullptr),
        ignore(t.options.ignore_label),
        k(static_cast<int>(logits.dim(-1))),
        hot(1 - t.options.label_smoothing),
        smooth(t.options.label_smoothing / k),
        fault(fault_) {}

  // The label of a pixel, -1 if it doesn't count.
  __device__ __forceinline__ int label(std::int64_t pixel, bool reports) const {
    const int label = labels[pixel];
    if (label == ignore) return -1;
    if (label >= 0 && label < k) return label;
    if (reports) report(fault, Fault::label, label, k);
    return -1;
  }
  __device__ __forceinline__ double weight(int c) const {
    return weights != nullptr ? static_cast<double>(weights[c]) : 1.0;
  }
  __device__ __forceinline__ C hot_of(int c) const { return static_cast<C>(weight(c) * hot); }
  __device__ __forceinline__ C smooth_of(int c) const {
    return weights != nullptr ? static_cast<C>(weight(c) * smooth) : static_cast<C>(smooth);
  }
  // The sum of smooth_of() over all classes, for a whole block. `scratch`: as block_reduce's.
  __device__ __forceinline__ double smooth_sum(double* scratch) const {
    if (smooth == 0) return 0;
    double sum = 0;
    for (int c = static_cast<int>(threadIdx.x); c < k; c += static_cast<int>(blockDim.x))
      sum += static_cast<double>(smooth_of(c));
    return block_reduce(sum, scratch);
  }
};

// partials [blocks, 2]: the sums of a block's losses and of its labels' weights.
__device__ __forceinline__ void leave_losses(double loss, double weight, double* partials) {
  __shared__ double scratch[32];
  loss = block_reduce(loss, scratch);
  weight = block_reduce(weight, scratch);
  if (threadIdx.x != 0) return;
  partials[2 * std::int64_t{blockIdx.x}] = loss;
  partials[2 * std::int64_t{blockIdx.x} + 1] = weight;
}

}  // namespace nextgrad::cuda
