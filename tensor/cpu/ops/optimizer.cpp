// Optimisers: one pass over the parameter and its state, split over threads, constants in
// registers.
#include <cmath>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kGrain = 16384;

// What gradients are multiplied by; NaN if nothing may be changed.
double gradient_factor(const GradientNorm& n) {
  if (!n.norm.defined()) return 1;
  const double norm = n.norm.item();
  if (!std::isfinite(norm)) return std::nan("");
  return n.largest > 0 && norm > n.largest ? n.largest / norm : 1;
}

double elements(const std::vector<OptimizerSlot>& slots) {
  double sum = 0;
  for (const OptimizerSlot& s : slots) sum += s.p.numel();
  return sum;
}

std::int64_t number_of(const OptimizerSlot& s) {
  return s.step - (s.refused.defined() ? *s.refused.data<std::int64_t>() : 0);
}

// Whether the step is refused; counts it if so.
bool refuse(std::vector<OptimizerSlot>& slots, double factor) {
  if (!std::isnan(factor)) return false;
  for (OptimizerSlot& s : slots) {
    if (!s.refused.defined()) continue;
    ++*s.refused.data<std::int64_t>();
    s.refused.bump_version();
  }
  return true;
}

template <class T>
void adamw_one(const OptimizerSlot& s, double beta1, double beta2, double epsilon, double factor) {
  const double step = number_of(s);
  const double correction2 = std::sqrt(1 - std::pow(beta2, step));
  const T keep = static_cast<T>(1 - s.lr * s.weight_decay);
  const T rate = static_cast<T>(s.lr / (1 - std::pow(beta1, step)));
  const T inverse = static_cast<T>(1 / correction2), eps = static_cast<T>(epsilon);
  const T b1 = static_cast<T>(beta1), c1 = static_cast<T>((1 - beta1) * factor);
  const T b2 = static_cast<T>(beta2), c2 = static_cast<T>((1 - beta2) * factor * factor);
  T *p = s.p.data<T>(), *m = s.m.data<T>(), *v = s.v.data<T>();
  const T* g = s.grad.data<T>();
  parallel_for(s.p.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
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
void sgd_one(const OptimizerSlot& s, T momentum, bool nesterov, T factor) {
  // The first step takes the gradient as the buffer, whatever that holds.
  const bool first = number_of(s) == 1;
  const T of_gradient = nesterov ? T(1) : T(0), of_buffer = nesterov ? momentum : T(1);
  const T lr = static_cast<T>(s.lr), decay = static_cast<T>(s.weight_decay);
  T *p = s.p.data<T>(), *buffer = s.m.data<T>();
  const T* grad = s.grad.data<T>();
  parallel_for(s.p.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      const T g = factor * grad[i] + decay * p[i];
      const T b = (first ? T(0) : momentum * buffer[i]) + g;
      buffer[i] = b;
      p[i] -= lr * (of_gradient * g + of_buffer * b);
    }
  });
}

}  // namespace

void CpuPrimitives::adamw(std::vector<OptimizerSlot>& slots, double beta1, double beta2, double eps,
                          const GradientNorm& norm) {
  const double factor = gradient_factor(norm), n = elements(slots);
  if (refuse(slots, factor)) return;
  OpScope scope("adamw", 12 * n, slots.empty() ? 0 : 7 * n * size_of(slots[0].p.dtype()));
  for (OptimizerSlot& s : slots) {
    dispatch_float(s.p.dtype(), "adamw",
                   [&](auto zero) { adamw_one<decltype(zero)>(s, beta1, beta2, eps, factor); });
    for (Tensor* t : {&s.p, &s.m, &s.v}) t->bump_version();
  }
}

void CpuPrimitives::sgd(std::vector<OptimizerSlot>& slots, double momentum, bool nesterov,
                        const GradientNorm& norm) {
  const double factor = gradient_factor(norm), n = elements(slots);
  if (refuse(slots, factor)) return;
  OpScope scope("sgd", 6 * n, slots.empty() ? 0 : 5 * n * size_of(slots[0].p.dtype()));
  for (OptimizerSlot& s : slots) {
    dispatch_float(s.p.dtype(), "sgd", [&]<class T>(T) {
      sgd_one<T>(s, static_cast<T>(momentum), nesterov, static_cast<T>(factor));
    });
    for (Tensor* t : {&s.p, &s.m}) t->bump_version();
  }
}

}  // namespace nextgrad::cpu
