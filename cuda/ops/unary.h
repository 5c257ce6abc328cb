// The functions of Unary and their derivatives, Binary and Compare, as functors for kernels. T is
// the type that is computed in.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/kit/kernel.h"
#include "tensor/backend.h"

namespace nextgrad::cuda {

__device__ __forceinline__ float tanh_of(float x) {
  return tanhf(x);
}
__device__ __forceinline__ double tanh_of(double x) {
  return tanh(x);
}
__device__ __forceinline__ float pow_of(float x, float y) {
  return powf(x, y);
}
__device__ __forceinline__ double pow_of(double x, double y) {
  return pow(x, y);
}

template <class T>
__device__ __forceinline__ T sign_of(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
}
template <class T>
__device__ __forceinline__ T sigmoid(T x) {
  return T(1) / (T(1) + exponential(-x));
}

template <Unary op, class T>
struct UnaryFunction {
  T alpha;
  __device__ __forceinline__ T operator()(T x) const {
    if constexpr (op == Unary::neg) return -x;
    if constexpr (op == Unary::exp) return exponential(x);
    if constexpr (op == Unary::log) return logarithm(x);
    if constexpr (op == Unary::sqrt) return square_root(x);
    if constexpr (op == Unary::rsqrt) return T(1) / square_root(x);
    if constexpr (op == Unary::square) return x * x;
    if constexpr (op == Unary::reciprocal) return T(1) / x;
    if constexpr (op == Unary::abs) return x < T(0) ? -x : x == T(0) ? T(0) : x;
    if constexpr (op == Unary::sign) return sign_of(x);
    if constexpr (op == Unary::relu) return x < T(0) ? T(0) : x;
    if constexpr (op == Unary::gelu) return gelu(x);
    if constexpr (op == Unary::sigmoid) return sigmoid(x);
    if constexpr (op == Unary::silu) return x * sigmoid(x);
    if constexpr (op == Unary::hardswish) {
      const T gate = x + T(3);
      return x * (gate < T(0) ? T(0) : gate > T(6) ? T(6) : gate) / T(6);
    }
    if constexpr (op == Unary::tanh) return tanh_of(x);
    if constexpr (op == Unary::pow) return pow_of(x, alpha);
    if constexpr (op == Unary::clamp_min) return x < alpha ? alpha : x;
    if constexpr (op == Unary::add_scalar) return x + alpha;
    if constexpr (op == Unary::mul_scalar) return x * alpha;
  }
};

// Whether the gradient is computed from y = f(x) instead of x.
inline bool gradient_uses_output(Unary op) {
  return op == Unary::exp || op == Unary::sqrt || op == Unary::rsqrt || op == Unary::reciprocal ||
         op == Unary::relu || op == Unary::sigmoid || op == Unary::tanh;
}

// dL/dx from v = x or y, as gradient_uses_output() says, and d = dL/dy.
template <Unary op, class T>
struct UnaryGradient {
  T alpha;
  __device__ __forceinline__ T operator()(T v, T d) const {
    if constexpr (op == Unary::neg) return -d;
    if constexpr (op == Unary::exp) return d * v;
    if constexpr (op == Unary::log) return d / v;
    if constexpr (op == Unary::sqrt) return d / (T(2) * v);
    if constexpr (op == Unary::rsqrt) return T(-0.5) * d * v * v * v;
    if constexpr (op == Unary::square) return T(2) * d * v;
    if constexpr (op == Unary::reciprocal) return -d * v * v;
    if constexpr (op == Unary::abs) return d * sign_of(v);
    if constexpr (op == Unary::sign) return d * T(0);
    if constexpr (op == Unary::relu) return v > T(0) ? d : T(0);
    if constexpr (op == Unary::gelu) return d * gelu_slope(v);
    if constexpr (op == Unary::sigmoid) return d * v * (T(1) - v);
    if constexpr (op == Unary::silu) {
      const T s = sigmoid(v);
      return d * s * (T(1) + v * (T(1) - s));
    }
    if constexpr (op == Unary::hardswish) {
      const T inside = v > T(3) ? T(1) : v / T(3) + T(0.5);
      return d * (v < T(-3) ? T(0) : inside);
    }
    if constexpr (op == Unary::tanh) return d * (T(1) - v * v);
    if constexpr (op == Unary::pow)
      return alpha == T(0) ? T(0) : d * alpha * pow_of(v, alpha - T(1));
    if constexpr (op == Unary::clamp_min) return v < alpha ? T(0) : d;
    if constexpr (op == Unary::add_scalar) return d;
    if constexpr (op == Unary::mul_scalar) return d * alpha;
  }
};

// Calls fn(std::integral_constant<Unary, op>); throws for what is no op.
template <class Fn>
void dispatch_unary(Unary op, Fn&& fn) {
  switch (op) {
    case Unary::neg:
      return fn(std::integral_constant<Unary, Unary::neg>{});
    case Unary::exp:
      return fn(std::integral_constant<Unary, Unary::exp>{});
    case Unary::log:
      return fn(std::integral_constant<Unary, Unary::log>{});
    case Unary::sqrt:
      return fn(std::integral_constant<Unary, Unary::sqrt>{});
    case Unary::rsqrt:
      return fn(std::integral_constant<Unary, Unary::rsqrt>{});
    case Unary::square:
      return fn(std::integral_constant<Unary, Unary::square>{});
    case Unary::reciprocal:
      return fn(std::integral_constant<Unary, Unary::reciprocal>{});
    case Unary::abs:
      return fn(std::integral_constant<Unary, Unary::abs>{});
    case Unary::sign:
      return fn(std::integral_constant<Unary, Unary::sign>{});
    case Unary::relu:
      return fn(std::integral_constant<Unary, Unary::relu>{});
    case Unary::gelu:
      return fn(std::integral_constant<Unary, Unary::gelu>{});
    case Unary::sigmoid:
      return fn(std::integral_constant<Unary, Unary::sigmoid>{});
    case Unary::silu:
      return fn(std::integral_constant<Unary, Unary::silu>{});
    case Unary::hardswish:
      return fn(std::integral_constant<Unary, Unary::hardswish>{});
    case Unary::tanh:
      return fn(std::integral_constant<Unary, Unary::tanh>{});
    case Unary::pow:
      return fn(std::integral_constant<Unary, Unary::pow>{});
    case Unary::clamp_min:
      return fn(std::integral_constant<Unary, Unary::clamp_min>{});
    case Unary::add_scalar:
      return fn(std::integral_constant<Unary, Unary::add_scalar>{});
    case Unary::mul_scalar:
      return fn(std::integral_constant<Unary, Unary::mul_scalar>{});
  }
  fail("unary: no op {}", static_cast<int>(op));
}

template <Binary op, class T>
struct BinaryFunction {
  __device__ __forceinline__ T operator()(T a, T b) const {
    if constexpr (op == Binary::add) return a + b;
    if constexpr (op == Binary::sub) return a - b;
    if constexpr (op == Binary::mul) return a * b;
    if constexpr (op == Binary::div) return a / b;
    // NaN wins, as in PyTorch.
    if constexpr (op == Binary::maximum) return a > b || a != a ? a : b;
    if constexpr (op == Binary::minimum) return a < b || a != a ? a : b;
  }
};

template <class Fn>
void dispatch_binary(Binary op, Fn&& fn) {
  switch (op) {
    case Binary::add:
      return fn(std::integral_constant<Binary, Binary::add>{});
    case Binary::sub:
      return fn(std::integral_constant<Binary, Binary::sub>{});
    case Binary::mul:
      return fn(std::integral_constant<Binary, Binary::mul>{});
    case Binary::div:
      return fn(std::integral_constant<Binary, Binary::div>{});
    case Binary::maximum:
      return fn(std::integral_constant<Binary, Binary::maximum>{});
    case Binary::minimum:
      return fn(std::integral_constant<Binary, Binary::minimum>{});
  }
  fail("binary: no op {}", static_cast<int>(op));
}

// Chosen at run time: comparisons are rare, and a kernel for each of six types is enough.
struct Comparison {
  Compare op;
  template <class T>
  __device__ __forceinline__ std::uint8_t operator()(T a, T b) const {
    switch (op) {
      case Compare::eq:
        return a == b;
      case Compare::ne:
        return a != b;
      case Compare::lt:
        return a < b;
      case Compare::le:
        return a <= b;
      case Compare::gt:
        return a > b;
      case Compare::ge:
        return a >= b;
    }
    return 0;
  }
};

}  // namespace nextgrad::cuda
