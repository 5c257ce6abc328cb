// What plain and upsampled cross entropy share: labels, target distributions, one pixel's loss.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tensor/backend.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/error.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {

// Checks every label and returns what the sum of losses is divided by.
template <class T>
double check_labels(const CrossEntropyTarget& t, std::int64_t k) {
  const auto& [all, weights, o] = t;
  const std::int32_t* labels = all.data<std::int32_t>();
  const std::int64_t pixels = all.numel();
  for (std::int64_t i = 0; i < pixels; ++i)
    check((labels[i] >= 0 && labels[i] < k) || labels[i] == o.ignore_label,
          "cross_entropy: label {} (pixel {}) is neither in [0, {}) nor the ignored {}; check the "
          "number of classes",
          labels[i], i, k, o.ignore_label);
  if (const double fixed = loss_divisor(pixels, o); fixed != 0) return fixed;
  const T* w = weights.defined() ? weights.data<T>() : nullptr;
  double sum = 0;
  for (std::int64_t i = 0; i < pixels; ++i)
    if (labels[i] != o.ignore_label) sum += w != nullptr ? w[labels[i]] : 1.0;
  return std::max(sum, 1e-12);
}

// The target distribution of a pixel: hot[label] on the label plus `smooth` on every class, class
// weights included (PyTorch's CrossEntropyLoss).
template <class T>
struct Target {
  std::vector<T> hot, smooth;
  double smooth_sum = 0;
  bool smoothed;
  std::int64_t ignore;  // the label of pixels that do not count
  double normaliser;    // what the sum of losses is divided by

  // Throws if a label is wrong.
  Target(const CrossEntropyTarget& t, std::int64_t k)
      : hot(k),
        smooth(k),
        smoothed(t.options.label_smoothing != 0),
        ignore(t.options.ignore_label),
        normaliser(check_labels<T>(t, k)) {
    for (std::int64_t c = 0; c < k; ++c) {
      const double w = t.weights.defined() ? t.weights.data<T>()[c] : 1.0;
      hot[c] = static_cast<T>(w * (1 - t.options.label_smoothing));
      smooth[c] = static_cast<T>(w * t.options.label_smoothing / k);
      smooth_sum += smooth[c];
    }
  }

  CrossEntropyResult result(double sum, const Tensor& log_sum) const {
    return {Tensor::scalar(sum / normaliser, dtype_of<T>), log_sum,
            Tensor::scalar(normaliser, DType::f64)};
  }
};

template <class T>
T log_sum_exp(const T* v, std::int64_t k) {
  T most = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : most)
  for (std::int64_t c = 0; c < k; ++c) most = v[c] > most ? v[c] : most;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < k; ++c) sum += cpu::exp(v[c] - most);
  return most + std::log(sum);
}

// -sum over classes of target_c log p_c.
template <class T>
double pixel_loss(const T* v, std::int64_t k, std::int32_t label, T lse, const Target<T>& target) {
  double loss = static_cast<double>(target.hot[label]) * (lse - v[label]);
  if (target.smoothed) {
    T sum = 0;
    const T* smooth = target.smooth.data();
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < k; ++c) sum += smooth[c] * (lse - v[c]);
    loss += sum;
  }
  return loss;
}

// d loss / dv = total softmax(v) - smooth - hot at the label, times `scale`.
template <class T>
void pixel_gradient(const T* v, std::int64_t k, std::int32_t label, T lse, const Target<T>& target,
                    double scale, T* dv) {
  const double hot = target.hot[label];
  const T total = static_cast<T>(scale * (hot + target.smooth_sum)), s = static_cast<T>(scale);
  const T* smooth = target.smooth.data();
#pragma omp simd
  for (std::int64_t c = 0; c < k; ++c) dv[c] = total * cpu::exp(v[c] - lse) - s * smooth[c];
  dv[label] -= static_cast<T>(scale * hot);
}

}  // namespace nextgrad::cpu
