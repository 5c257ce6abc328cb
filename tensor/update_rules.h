// What an optimiser's step does to one number, the same on every device: its constants, in double
// from the options, and the update in the type of the parameters. constexpr, so that kernels may
// call it.
#pragma once

#include <cmath>

#include "tensor/optimizer_slot.h"

namespace nextgrad {

// What gradients of this norm are multiplied by (GradientNorm); NaN if nothing may be changed.
constexpr double gradient_factor(double norm, double largest) {
  if (!(norm * 0 == 0)) return norm * 0;
  return largest > 0 && norm > largest ? largest / norm : 1;
}

template <class T>
struct AdamWStep {
  using Options = AdamWOptions;
  T keep, rate, inverse, eps, b1, c1, b2, c2;

  constexpr void set(const Options& o, double lr, double decay, double step, double factor) {
    keep = static_cast<T>(1 - lr * decay);
    rate = static_cast<T>(lr / (1 - std::pow(o.beta1, step)));
    inverse = static_cast<T>(1 / std::sqrt(1 - std::pow(o.beta2, step)));
    eps = static_cast<T>(o.eps);
    b1 = static_cast<T>(o.beta1);
    c1 = static_cast<T>((1 - o.beta1) * factor);
    b2 = static_cast<T>(o.beta2);
    c2 = static_cast<T>((1 - o.beta2) * factor * factor);
  }
  constexpr void update(T g, T& p, T& m, T& v) const {
    m = b1 * m + c1 * g;
    v = b2 * v + c2 * (g * g);
    p = keep * p - rate * (m / (std::sqrt(v) * inverse + eps));
  }
};

template <class T>
struct SGDStep {
  using Options = SGDOptions;
  T lr, decay, factor, momentum, of_gradient, of_buffer;
  bool first;  // takes the gradient as the buffer, whatever that holds

  constexpr void set(const Options& o, double lr_, double decay_, double step, double factor_) {
    lr = static_cast<T>(lr_);
    decay = static_cast<T>(decay_);
    factor = static_cast<T>(factor_);
    momentum = static_cast<T>(o.momentum);
    of_gradient = o.nesterov ? T(1) : T(0);
    of_buffer = o.nesterov ? momentum : T(1);
    first = step == 1;
  }
  constexpr void update(T grad, T& p, T& m, T&) const {
    const T g = factor * grad + decay * p;
    m = (first ? T(0) : momentum * m) + g;
    p -= lr * (of_gradient * g + of_buffer * m);
  }
};

}  // namespace nextgrad
