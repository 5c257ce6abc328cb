// Optimisers: one pass over the parameter and its state, split over threads, constants in
// registers.
#include <cmath>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kGrain = 16384;

template <class T>
void adamw_all(T* p, T* m, T* v, const T* g, std::int64_t n, const AdamWStep& s) {
  const double step = static_cast<double>(s.step);
  const double correction2 = std::sqrt(1 - std::pow(s.beta2, step));
  const T keep = static_cast<T>(1 - s.lr * s.weight_decay);
  const T rate = static_cast<T>(s.lr / (1 - std::pow(s.beta1, step)));
  const T inverse = static_cast<T>(1 / correction2), eps = static_cast<T>(s.eps);
  const T b1 = static_cast<T>(s.beta1), c1 = static_cast<T>(1 - s.beta1);
  const T b2 = static_cast<T>(s.beta2), c2 = static_cast<T>(1 - s.beta2);
  parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      const T mi = b1 * m[i] + c1 * g[i];
      const T vi = b2 * v[i] + c2 * (g[i] * g[i]);
      m[i] = mi;
      v[i] = vi;
      p[i] = keep * p[i] - rate * (mi / (std::sqrt(vi) * inverse + eps));
    }
  });
}

template <class T>
void sgd_all(T* p, T* buffer, const T* grad, std::int64_t n, T lr, T momentum, T decay,
             bool nesterov, bool first) {
  // The first step takes the gradient as the buffer, whatever that holds.
  const T of_gradient = nesterov ? T(1) : T(0), of_buffer = nesterov ? momentum : T(1);
  parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      const T g = grad[i] + decay * p[i];
      const T b = (first ? T(0) : momentum * buffer[i]) + g;
      buffer[i] = b;
      p[i] -= lr * (of_gradient * g + of_buffer * b);
    }
  });
}

}  // namespace

void CpuBackend::adamw(Tensor& p, Tensor& m, Tensor& v, const Tensor& grad, const AdamWStep& s) {
  OpScope scope("adamw", 12.0 * static_cast<double>(p.numel()),
                7.0 * static_cast<double>(p.nbytes()));
  dispatch_float(p.dtype(), "adamw", [&](auto zero) {
    using T = decltype(zero);
    adamw_all(p.data<T>(), m.data<T>(), v.data<T>(), grad.data<T>(), p.numel(), s);
  });
  p.bump_version();
  m.bump_version();
  v.bump_version();
}

void CpuBackend::sgd(Tensor& p, Tensor& momentum_buffer, const Tensor& grad, double lr,
                     double momentum, double weight_decay, bool nesterov, bool first) {
  const bool fresh = first || !momentum_buffer.defined();
  if (!momentum_buffer.defined()) {
    momentum_buffer = Tensor::empty(p.shape(), p.dtype(), p.device());
  }
  OpScope scope("sgd", 6.0 * static_cast<double>(p.numel()), 5.0 * static_cast<double>(p.nbytes()));
  dispatch_float(p.dtype(), "sgd", [&](auto zero) {
    using T = decltype(zero);
    sgd_all(p.data<T>(), momentum_buffer.data<T>(), grad.data<T>(), p.numel(), static_cast<T>(lr),
            static_cast<T>(momentum), static_cast<T>(weight_decay), nesterov, fresh);
  });
  p.bump_version();
  momentum_buffer.bump_version();
}

}  // namespace nextgrad::cpu
