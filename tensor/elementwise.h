// The elementwise ops, one struct each: what it is called, its value and its gradient. Both
// backends make their kernels of these, and autograd keeps what the gradient reads. Adding one is
// four edits in four files: an enumerator and a struct here, a function in autograd/arithmetic.h,
// its value in tests/tensor/test_elementwise.cpp, its gradient in tests/autograd/test_ops.cpp.
//
// T is the type that is computed in. M holds what differs between devices: the elementary functions
// of the backend's own kit (cpu::Math, cuda::Math).
#pragma once

#include <cstddef>
#include <utility>

#include "tensor/error.h"

#ifdef __CUDACC__
#define NEXTGRAD_ELEMENTWISE static __device__ __forceinline__
#else
#define NEXTGRAD_ELEMENTWISE [[gnu::always_inline]] static inline
#endif

namespace nextgrad {

// y = f(x). The constant that some have comes as `alpha`.
enum class Unary {
  neg,
  exp,
  log,
  sqrt,
  rsqrt,
  square,
  relu,
  gelu,
  sigmoid,
  silu,
  hardswish,
  tanh,
  softplus,
  leaky_relu,
  elu,
  clamp_min,
  add_scalar,
  mul_scalar  // the last, which with_unary() counts by
};
enum class Binary { add, sub, mul, div };  // so does with_binary() by div

// What the gradient is computed from besides dy: of x and y = f(x) whichever makes it cheaper.
enum class Reads { nothing, x, y };
template <Reads reads>
struct GradientReads {
  static constexpr Reads gradient_reads = reads;
};

// value(x, alpha) and gradient(v, d, alpha), which is dL/dx: d is dL/dy, v is x or y as
// gradient_reads says (any number where that is nothing).
template <Unary, class M, class T>
struct UnaryOp;

template <class M, class T>
struct UnaryOp<Unary::neg, M, T> : GradientReads<Reads::nothing> {
  static constexpr const char* name = "neg";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return -x; }
  NEXTGRAD_ELEMENTWISE T gradient(T, T d, T) { return -d; }
};
template <class M, class T>
struct UnaryOp<Unary::exp, M, T> : GradientReads<Reads::y> {
  static constexpr const char* name = "exp";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return M::exp(x); }
  NEXTGRAD_ELEMENTWISE T gradient(T y, T d, T) { return d * y; }
};
template <class M, class T>
struct UnaryOp<Unary::log, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "log";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return M::log(x); }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T) { return d / x; }
};
template <class M, class T>
struct UnaryOp<Unary::sqrt, M, T> : GradientReads<Reads::y> {
  static constexpr const char* name = "sqrt";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return M::sqrt(x); }
  NEXTGRAD_ELEMENTWISE T gradient(T y, T d, T) { return d / (T(2) * y); }
};
template <class M, class T>
struct UnaryOp<Unary::rsqrt, M, T> : GradientReads<Reads::y> {
  static constexpr const char* name = "rsqrt";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return T(1) / M::sqrt(x); }
  NEXTGRAD_ELEMENTWISE T gradient(T y, T d, T) { return T(-0.5) * d * y * y * y; }
};
template <class M, class T>
struct UnaryOp<Unary::square, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "square";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return x * x; }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T) { return T(2) * d * x; }
};
// max(x, 0)
template <class M, class T>
struct UnaryOp<Unary::relu, M, T> : GradientReads<Reads::y> {
  static constexpr const char* name = "relu";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return x < T(0) ? T(0) : x; }
  NEXTGRAD_ELEMENTWISE T gradient(T y, T d, T) { return y > T(0) ? d : T(0); }
};
// x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016)
template <class M, class T>
struct UnaryOp<Unary::gelu, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "gelu";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return M::gelu(x); }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T) { return d * M::gelu_slope(x); }
};
template <class M, class T>
struct UnaryOp<Unary::sigmoid, M, T> : GradientReads<Reads::y> {
  static constexpr const char* name = "sigmoid";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return T(1) / (T(1) + M::exp(-x)); }
  NEXTGRAD_ELEMENTWISE T gradient(T y, T d, T) { return d * y * (T(1) - y); }
};
// x sigmoid(x)
template <class M, class T>
struct UnaryOp<Unary::silu, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "silu";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return x * (T(1) / (T(1) + M::exp(-x))); }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T) {
    const T s = T(1) / (T(1) + M::exp(-x));
    return d * s * (T(1) + x * (T(1) - s));
  }
};
// x clamp(x + 3, 0, 6) / 6 (Howard et al. 2019)
template <class M, class T>
struct UnaryOp<Unary::hardswish, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "hardswish";
  NEXTGRAD_ELEMENTWISE T value(T x, T) {
    const T low = x + T(3) < T(0) ? T(0) : x + T(3);
    return x * (low > T(6) ? T(6) : low) / T(6);
  }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T) {
    const T inside = x > T(3) ? T(1) : x / T(3) + T(0.5);
    return d * (x < T(-3) ? T(0) : inside);
  }
};
template <class M, class T>
struct UnaryOp<Unary::tanh, M, T> : GradientReads<Reads::y> {
  static constexpr const char* name = "tanh";
  NEXTGRAD_ELEMENTWISE T value(T x, T) { return M::tanh(x); }
  NEXTGRAD_ELEMENTWISE T gradient(T y, T d, T) { return d * (T(1) - y * y); }
};
// log(1 + e^x) (Dugas et al. 2001), without overflow: max(x, 0) + log(1 + e^-|x|)
template <class M, class T>
struct UnaryOp<Unary::softplus, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "softplus";
  NEXTGRAD_ELEMENTWISE T value(T x, T) {
    return (x < T(0) ? T(0) : x) + M::log1p(M::exp(x < T(0) ? x : -x));
  }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T) { return d / (T(1) + M::exp(-x)); }
};
// max(x, 0) + alpha min(x, 0) (Maas et al. 2013)
template <class M, class T>
struct UnaryOp<Unary::leaky_relu, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "leaky_relu";
  NEXTGRAD_ELEMENTWISE T value(T x, T alpha) { return x < T(0) ? alpha * x : x; }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T alpha) { return x > T(0) ? d : alpha * d; }
};
// x, or alpha (e^x - 1) below 0 (Clevert et al. 2016)
template <class M, class T>
struct UnaryOp<Unary::elu, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "elu";
  NEXTGRAD_ELEMENTWISE T value(T x, T alpha) { return x < T(0) ? alpha * M::expm1(x) : x; }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T alpha) {
    return x > T(0) ? d : d * alpha * M::exp(x);
  }
};
template <class M, class T>
struct UnaryOp<Unary::clamp_min, M, T> : GradientReads<Reads::x> {
  static constexpr const char* name = "clamp_min";
  NEXTGRAD_ELEMENTWISE T value(T x, T alpha) { return x < alpha ? alpha : x; }
  NEXTGRAD_ELEMENTWISE T gradient(T x, T d, T alpha) { return x < alpha ? T(0) : d; }
};
template <class M, class T>
struct UnaryOp<Unary::add_scalar, M, T> : GradientReads<Reads::nothing> {
  static constexpr const char* name = "add_scalar";
  NEXTGRAD_ELEMENTWISE T value(T x, T alpha) { return x + alpha; }
  NEXTGRAD_ELEMENTWISE T gradient(T, T d, T) { return d; }
};
template <class M, class T>
struct UnaryOp<Unary::mul_scalar, M, T> : GradientReads<Reads::nothing> {
  static constexpr const char* name = "mul_scalar";
  NEXTGRAD_ELEMENTWISE T value(T x, T alpha) { return x * alpha; }
  NEXTGRAD_ELEMENTWISE T gradient(T, T d, T alpha) { return d * alpha; }
};

template <Binary op, class T>
struct BinaryOp {
  static constexpr const char* names[] = {"add", "sub", "mul", "div"};
  static constexpr const char* name = names[static_cast<int>(op)];
  NEXTGRAD_ELEMENTWISE T value(T a, T b) {
    if constexpr (op == Binary::add) {
      return a + b;
    } else if constexpr (op == Binary::sub) {
      return a - b;
    } else if constexpr (op == Binary::mul) {
      return a * b;
    } else {
      return a / b;
    }
  }
};

namespace detail {

// Calls fn(std::integral_constant<Op, op>{}) for the op of that number; false if there is none.
template <class Op, class Fn, std::size_t... I>
bool with_op(Op op, Fn& fn, std::index_sequence<I...>) {
  const auto called = [&](auto which) {
    fn(which);
    return true;
  };
  return ((op == Op{I} && called(std::integral_constant<Op, Op{I}>{})) || ...);
}

}  // namespace detail

// Calls fn with the op as a type: fn(std::integral_constant<Unary, op>{}); throws for what is none.
template <class Fn>
void with_unary(Unary op, Fn&& fn) {
  constexpr auto kOps = static_cast<std::size_t>(Unary::mul_scalar) + 1;
  if (!detail::with_op(op, fn, std::make_index_sequence<kOps>{}))
    fail("unary: no op {}", static_cast<int>(op));
}
template <class Fn>
void with_binary(Binary op, Fn&& fn) {
  constexpr auto kOps = static_cast<std::size_t>(Binary::div) + 1;
  if (!detail::with_op(op, fn, std::make_index_sequence<kOps>{}))
    fail("binary: no op {}", static_cast<int>(op));
}

// The same of an op known at run time only; these throw too for what is none.
struct UnaryFacts {
  const char *name, *backward_name;  // "exp", "exp_backward"
  Reads gradient_reads;
};
UnaryFacts facts_of(Unary op);
const char* name_of(Binary op);

}  // namespace nextgrad
