// Elementwise arithmetic with broadcasting (NumPy's rule) and the activations, f32 or f64. Throws
// where tensor/ops.h does, and for shapes that do not broadcast.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// Any op of the table (tensor/elementwise.h), computed at once.
Variable elementwise(Unary op, const Variable& x, double alpha = 0);
Variable elementwise(Binary op, const Variable& a, const Variable& b);

// Sums and products of equal shapes, and products of [N, ..., C] with a vector [C], wait to be
// fused (fuse.h); such a vector may be a parameter of bf16 activations.
Variable operator+(Variable a, Variable b);
Variable operator*(Variable a, Variable b);
inline Variable operator-(const Variable& a, const Variable& b) {
  return elementwise(Binary::sub, a, b);
}
inline Variable operator/(const Variable& a, const Variable& b) {
  return elementwise(Binary::div, a, b);
}
inline Variable operator+(const Variable& x, double c) {
  return elementwise(Unary::add_scalar, x, c);
}
inline Variable operator-(const Variable& x, double c) {
  return x + -c;
}
inline Variable operator*(const Variable& x, double c) {
  return elementwise(Unary::mul_scalar, x, c);
}
inline Variable operator/(const Variable& x, double c) {
  return x * (1 / c);
}
inline Variable operator-(const Variable& x) {
  return elementwise(Unary::neg, x);
}

inline Variable exp(const Variable& x) {
  return elementwise(Unary::exp, x);
}
inline Variable log(const Variable& x) {
  return elementwise(Unary::log, x);
}
inline Variable sqrt(const Variable& x) {
  return elementwise(Unary::sqrt, x);
}
inline Variable rsqrt(const Variable& x) {
  return elementwise(Unary::rsqrt, x);
}
inline Variable square(const Variable& x) {
  return elementwise(Unary::square, x);
}
inline Variable clamp_min(const Variable& x, double lowest) {
  return elementwise(Unary::clamp_min, x, lowest);
}

// Activations; their formulas and slopes stand in the table. ReLU and GELU wait to be fused.
Variable relu(Variable x);
Variable gelu(Variable x);
inline Variable sigmoid(const Variable& x) {
  return elementwise(Unary::sigmoid, x);
}
inline Variable silu(const Variable& x) {
  return elementwise(Unary::silu, x);
}
inline Variable hardswish(const Variable& x) {
  return elementwise(Unary::hardswish, x);
}
inline Variable tanh(const Variable& x) {
  return elementwise(Unary::tanh, x);
}
inline Variable softplus(const Variable& x) {
  return elementwise(Unary::softplus, x);
}
inline Variable leaky_relu(const Variable& x, double slope = 0.01) {
  return elementwise(Unary::leaky_relu, x, slope);
}
inline Variable elu(const Variable& x, double alpha = 1) {
  return elementwise(Unary::elu, x, alpha);
}

}  // namespace nextgrad
