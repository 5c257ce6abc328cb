// Cross entropy, plain and on bilinearly upsampled logits. The upsampled ones are blended
// vertically into one [w, K] row, then pixel by pixel into K numbers. Backward: a task owns the
// output rows between source rows y and y + 1 and sums its share of both, which a second pass adds
// up. In these buffers K is padded to whole vectors by a logit that has no probability.
#include <cmath>
#include <limits>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/math.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/taps.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kChunk = 1024;  // pixels whose loss is summed by one task
constexpr std::int64_t kLanes = 16;    // K is padded to a multiple of this
constexpr double kPadding = -1e30;     // the logit of a padded class

// The target distribution of a pixel: hot[label] on the label plus `smooth` on every class, class
// weights included (PyTorch's CrossEntropyLoss).
template <class T>
struct Target {
  std::vector<T> hot, smooth;
  double smooth_sum = 0;
  bool smoothed = false;

  Target(std::int64_t k, const Tensor& weights, const CrossEntropyOptions& o)
      : hot(static_cast<std::size_t>(k)),
        smooth(static_cast<std::size_t>(k + kLanes)),  // 0 on padded classes
        smoothed(o.label_smoothing != 0) {
    for (std::size_t c = 0; c < hot.size(); ++c) {
      const double w = weights.defined() ? static_cast<double>(weights.data<T>()[c]) : 1.0;
      hot[c] = static_cast<T>(w * (1 - o.label_smoothing));
      smooth[c] = static_cast<T>(w * o.label_smoothing / static_cast<double>(k));
      smooth_sum += static_cast<double>(smooth[c]);
    }
  }
};

// Checks every label and returns what the sum of losses is divided by.
template <class T>
double check_labels(const std::int32_t* labels, std::int64_t pixels, std::int64_t k,
                    const Tensor& weights, const CrossEntropyOptions& o) {
  const T* w = weights.defined() ? weights.data<T>() : nullptr;
  double sum = 0;
  for (std::int64_t i = 0; i < pixels; ++i) {
    const std::int64_t label = labels[i];
    if (label == o.ignore_label) continue;
    check(label >= 0 && label < k,
          "cross_entropy: label {} (pixel {}) is neither in [0, {}) nor the ignored {}; check the "
          "number of classes",
          label, i, k, o.ignore_label);
    sum += w != nullptr ? static_cast<double>(w[label]) : 1.0;
  }
  using Normalise = CrossEntropyOptions::Normalise;
  if (o.normalise == Normalise::none) return 1.0;
  if (o.normalise == Normalise::all) sum = static_cast<double>(pixels);
  return std::max(sum, 1e-12);
}

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
  const auto at = static_cast<std::size_t>(label);
  double loss = static_cast<double>(target.hot[at]) * static_cast<double>(lse - v[at]);
  if (target.smoothed) {
    T sum = 0;
    const T* smooth = target.smooth.data();
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < k; ++c) sum += smooth[c] * (lse - v[c]);
    loss += static_cast<double>(sum);
  }
  return loss;
}

// d loss / dv = total softmax(v) - smooth - hot at the label, times `scale`.
template <class T>
void pixel_gradient(const T* v, std::int64_t k, std::int32_t label, T lse, const Target<T>& target,
                    double scale, T* dv) {
  const auto at = static_cast<std::size_t>(label);
  const double hot = static_cast<double>(target.hot[at]);
  const T total = static_cast<T>(scale * (hot + target.smooth_sum)), s = static_cast<T>(scale);
  const T* smooth = target.smooth.data();
#pragma omp simd
  for (std::int64_t c = 0; c < k; ++c) dv[c] = total * cpu::exp(v[c] - lse) - s * smooth[c];
  dv[at] -= static_cast<T>(scale * hot);
}

double sum_in_order(const std::vector<double>& partial) {
  double sum = 0;
  for (const double p : partial) sum += p;
  return sum;
}

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

struct Extents {
  std::int64_t n, h, w, k, oh, ow;
  std::int64_t padded = (k + kLanes - 1) / kLanes * kLanes;
};

// The taps of both axes, and per source row the first output row of which it is the upper one.
struct Upsampling {
  std::vector<Tap> rows, columns;
  std::vector<std::int64_t> starts;
  explicit Upsampling(const Extents& e)
      : rows(make_taps(e.h, e.oh, Resize::bilinear)),
        columns(make_taps(e.w, e.ow, Resize::bilinear)) {
    std::size_t o = 0;
    for (std::int64_t y = 0; y <= e.h; ++y) {
      while (o < rows.size() && rows[o].first < y) ++o;
      starts.push_back(static_cast<std::int64_t>(o));
    }
  }
};

// The vertically blended row [w, padded]; its padding is left as it is.
template <class T>
void blend_row(const T* image, const Tap& ty, const Extents& e, T* row) {
  const T *a = image + ty.first * e.w * e.k, *b = image + ty.second * e.w * e.k;
  for (std::int64_t i = 0; i < e.w; ++i) {
    blend(a + i * e.k, b + i * e.k, static_cast<T>(ty.t), row + i * e.padded, e.k);
  }
}

template <class T>
double upsampled_loss_sum(const T* logits, const std::int32_t* labels, const Extents& e,
                          const Target<T>& target, std::int64_t ignore, T* log_sum) {
  const Upsampling up(e);
  std::vector<double> partial(static_cast<std::size_t>(e.n * e.oh));
  parallel_for(e.n * e.oh, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> row(static_cast<std::size_t>(e.w * e.padded), T(kPadding));
    std::vector<T> v(static_cast<std::size_t>(e.padded));
    for (std::int64_t r = begin; r < end; ++r) {
      blend_row(logits + r / e.oh * e.h * e.w * e.k, up.rows[static_cast<std::size_t>(r % e.oh)], e,
                row.data());
      double sum = 0;
      for (std::int64_t i = 0; i < e.ow; ++i) {
        const std::int64_t pixel = r * e.ow + i;
        log_sum[pixel] = T(0);
        if (labels[pixel] == ignore) continue;
        const Tap& tx = up.columns[static_cast<std::size_t>(i)];
        blend(row.data() + tx.first * e.padded, row.data() + tx.second * e.padded,
              static_cast<T>(tx.t), v.data(), e.padded);
        log_sum[pixel] = log_sum_exp(v.data(), e.padded);
        sum += pixel_loss(v.data(), e.k, labels[pixel], log_sum[pixel], target);
      }
      partial[static_cast<std::size_t>(r)] = sum;
    }
  });
  return sum_in_order(partial);
}

// Adds one output pixel's gradient to the row gradients g0 and g1 of its two source columns.
template <class T>
void pixel_gradient_folded(const T* v0, const T* v1, T t, std::int64_t k, std::int32_t label, T lse,
                           const Target<T>& target, double scale, T* g0, T* g1) {
  const auto at = static_cast<std::size_t>(label);
  const double hot = static_cast<double>(target.hot[at]);
  const T total = static_cast<T>(scale * (hot + target.smooth_sum)), s = T(1) - t;
  const T spread = target.smoothed ? static_cast<T>(scale) : T(0);
  const T* smooth = target.smooth.data();
#pragma omp simd
  for (std::int64_t c = 0; c < k; ++c) {
    const T g = total * cpu::exp(s * v0[c] + t * v1[c] - lse) - spread * smooth[c];
    g0[c] += s * g;
    g1[c] += t * g;
  }
  g0[at] -= s * static_cast<T>(scale * hot);
  g1[at] -= t * static_cast<T>(scale * hot);
}

// Buffers of one thread: rows [w, padded] and the gradient that goes nowhere.
template <class T>
struct Scratch {
  std::vector<T> row, gradient, upper, lower, unused;
  explicit Scratch(const Extents& e)
      : row(static_cast<std::size_t>(e.w * e.padded), T(kPadding)),
        gradient(row.size()),
        upper(row.size()),
        lower(row.size()),
        unused(static_cast<std::size_t>(e.padded)) {}
};

// The gradient of one output row with respect to its vertically blended row, in scratch.gradient.
template <class T>
void row_gradient(const std::int32_t* labels, const T* log_sum, const Upsampling& up,
                  const Extents& e, const Target<T>& target, std::int64_t ignore, double scale,
                  Scratch<T>& scratch) {
  std::fill(scratch.gradient.begin(), scratch.gradient.end(), T(0));
  const T* row = scratch.row.data();
  T* gradient = scratch.gradient.data();
  for (std::int64_t i = 0; i < e.ow; ++i) {
    if (labels[i] == ignore) continue;
    const Tap& tx = up.columns[static_cast<std::size_t>(i)];
    // At the border both columns are one and t = 0: the second share goes nowhere.
    T* second = tx.second == tx.first ? scratch.unused.data() : gradient + tx.second * e.padded;
    pixel_gradient_folded(row + tx.first * e.padded, row + tx.second * e.padded,
                          static_cast<T>(tx.t), e.padded, labels[i], log_sum[i], target, scale,
                          gradient + tx.first * e.padded, second);
  }
}

// scratch.upper and lower: the shares of source rows y and y + 1 in the gradients of the output
// rows between them.
template <class T>
void interval_gradient(const T* image, const std::int32_t* labels, const T* log_sum,
                       const Upsampling& up, std::int64_t y, const Extents& e,
                       const Target<T>& target, std::int64_t ignore, double scale,
                       Scratch<T>& scratch) {
  const std::int64_t wide = e.w * e.padded;
  std::fill(scratch.upper.begin(), scratch.upper.end(), T(0));
  std::fill(scratch.lower.begin(), scratch.lower.end(), T(0));
  for (std::int64_t o = up.starts[static_cast<std::size_t>(y)];
       o < up.starts[static_cast<std::size_t>(y + 1)]; ++o) {
    const Tap& ty = up.rows[static_cast<std::size_t>(o)];
    blend_row(image, ty, e, scratch.row.data());
    row_gradient(labels + o * e.ow, log_sum + o * e.ow, up, e, target, ignore, scale, scratch);
    const T t = static_cast<T>(ty.t);
    accumulate(scratch.gradient.data(), T(1) - t, scratch.upper.data(), wide);
    accumulate(scratch.gradient.data(), t, scratch.lower.data(), wide);
  }
}

template <class T>
void upsampled_gradient(const T* logits, const std::int32_t* labels, const T* log_sum,
                        const Extents& e, const Target<T>& target, std::int64_t ignore,
                        double scale, T* dlogits, T* below) {
  const Upsampling up(e);
  const std::int64_t wide = e.w * e.k, pixels = e.oh * e.ow;
  parallel_for(e.n * e.h, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(e);
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t image = task / e.h;
      interval_gradient(logits + image * e.h * wide, labels + image * pixels,
                        log_sum + image * pixels, up, task % e.h, e, target, ignore, scale,
                        scratch);
      for (std::int64_t i = 0; i < e.w; ++i) {
        const std::int64_t at = task * wide + i * e.k;
        std::copy_n(scratch.upper.data() + i * e.padded, e.k, dlogits + at);
        std::copy_n(scratch.lower.data() + i * e.padded, e.k, below + at);
      }
    }
  });
  parallel_for(e.n * e.h, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      if (task % e.h == 0) continue;
      accumulate(below + (task - 1) * wide, T(1), dlogits + task * wide, wide);
    }
  });
}

Extents extents(const Tensor& logits, const Tensor& labels) {
  return {logits.dim(0), logits.dim(1), logits.dim(2), logits.dim(3), labels.dim(1), labels.dim(2)};
}

double work(const Tensor& labels, std::int64_t k) {
  return 6.0 * static_cast<double>(labels.numel()) * static_cast<double>(k);
}

}  // namespace

CrossEntropyResult CpuBackend::cross_entropy(const Tensor& logits, const Tensor& labels,
                                             const Tensor& weights, const CrossEntropyOptions& o) {
  const std::int64_t k = logits.dim(-1), pixels = labels.numel();
  OpScope scope("cross_entropy", work(labels, k),
                static_cast<double>(logits.nbytes() + labels.nbytes()));
  const std::int32_t* at = labels.data<std::int32_t>();
  return dispatch_float(logits.dtype(), "cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    const double normaliser = check_labels<T>(at, pixels, k, weights, o);
    Tensor log_sum = Tensor::empty(labels.shape(), logits.dtype(), logits.device());
    const double sum = loss_sum(logits.data<T>(), at, pixels, k, Target<T>(k, weights, o),
                                o.ignore_label, log_sum.data<T>());
    return CrossEntropyResult{Tensor::scalar(sum / normaliser, logits.dtype(), logits.device()),
                              log_sum, normaliser};
  });
}

Tensor CpuBackend::cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                          const Tensor& weights, const CrossEntropyOptions& o,
                                          const CrossEntropyResult& r, double dloss) {
  const std::int64_t k = logits.dim(-1), pixels = labels.numel();
  OpScope scope("cross_entropy_backward", work(labels, k),
                static_cast<double>(2 * logits.nbytes() + labels.nbytes()));
  Tensor dlogits = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  const std::int32_t* label = labels.data<std::int32_t>();
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
          pixel_gradient(v + i * k, k, label[i], lse[i], target, dloss / r.normaliser, dv + i * k);
        }
      }
    });
  });
  return dlogits;
}

CrossEntropyResult CpuBackend::upsample_cross_entropy(const Tensor& logits, const Tensor& labels,
                                                      const Tensor& weights,
                                                      const CrossEntropyOptions& o) {
  const Extents e = extents(logits, labels);
  OpScope scope("upsample_cross_entropy", work(labels, e.k),
                static_cast<double>(logits.nbytes() + 2 * labels.nbytes()));
  const std::int32_t* at = labels.data<std::int32_t>();
  return dispatch_float(logits.dtype(), "upsample_cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    const double normaliser = check_labels<T>(at, labels.numel(), e.k, weights, o);
    Tensor log_sum = Tensor::empty(labels.shape(), logits.dtype(), logits.device());
    const double sum = upsampled_loss_sum(logits.data<T>(), at, e, Target<T>(e.k, weights, o),
                                          o.ignore_label, log_sum.data<T>());
    return CrossEntropyResult{Tensor::scalar(sum / normaliser, logits.dtype(), logits.device()),
                              log_sum, normaliser};
  });
}

Tensor CpuBackend::upsample_cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                                   const Tensor& weights,
                                                   const CrossEntropyOptions& o,
                                                   const CrossEntropyResult& r, double dloss) {
  const Extents e = extents(logits, labels);
  OpScope scope("upsample_cross_entropy_backward", 2 * work(labels, e.k),
                static_cast<double>(2 * logits.nbytes() + 2 * labels.nbytes()));
  Tensor dlogits = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  const Tensor below = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  const std::int32_t* at = labels.data<std::int32_t>();
  dispatch_float(logits.dtype(), "upsample_cross_entropy_backward", [&](auto zero) {
    using T = decltype(zero);
    check_labels<T>(at, labels.numel(), e.k, weights, o);
    upsampled_gradient(logits.data<T>(), at, r.log_sum.data<T>(), e, Target<T>(e.k, weights, o),
                       o.ignore_label, dloss / r.normaliser, dlogits.data<T>(), below.data<T>());
  });
  return dlogits;
}

}  // namespace nextgrad::cpu
