// What every op checks of its inputs before it calls the backend, and what several op files share.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// They take tensors and variables, whose values they do not ask for.
inline void check_floating(const char* op, const auto& x) {
  check(x.defined(), "{}: an input is undefined", op);
  const bool on_gpu = x.device().kind == Device::Kind::cuda;
  check(x.dtype() == DType::f32 || x.dtype() == DType::f64 || (on_gpu && x.dtype() == DType::bf16),
        "{}: computes in f32 or f64{}, got {}; convert with to()", op, on_gpu ? " or bf16" : "",
        name_of(x.dtype()));
}

// b has the dtype of a, or if it is a parameter the one that goes with a.
inline void check_same(const char* op, const auto& a, const auto& b, bool parameter = false) {
  check(a.defined() && b.defined(), "{}: an input is undefined", op);
  check(b.dtype() == (parameter ? parameter_dtype(a.dtype()) : a.dtype()),
        "{}: inputs are {} and {}; convert one with to()", op, name_of(a.dtype()),
        name_of(b.dtype()));
  check(a.device() == b.device(), "{}: inputs are on {} and {}; move one with to()", op, a.device(),
        b.device());
}

// A parameter of the dtype that goes with x: its own, or f32 if x is bf16.
inline void check_parameter(const char* op, const auto& x, const auto& p) {
  check_same(op, x, p, true);
}

// A parameter of `extent` elements, or undefined.
inline void check_vector(const char* op, const char* what, const Variable& x, const Variable& v,
                         std::int64_t extent) {
  if (!v.defined()) return;
  check_parameter(op, x, v);
  check(v.ndim() == 1 && v.dim(0) == extent, "{}: {} is {}, the input {} wants [{}]", op, what,
        v.shape(), x.shape(), extent);
}

// [..., I] and [O, I] to [..., O].
inline Shape check_linear(const char* op, const Variable& x, const Variable& weight,
                          const Variable& bias) {
  check_floating(op, x);
  check_parameter(op, x, weight);
  check(x.ndim() >= 1 && weight.ndim() == 2 && x.dim(-1) == weight.dim(1),
        "{}: input {} does not fit weight {}", op, x.shape(), weight.shape());
  check_vector(op, "bias", x, bias, weight.dim(0));
  Shape out = x.shape();
  out[x.ndim() - 1] = weight.dim(0);
  return out;
}

// A drop path mask, one number an image, or undefined.
inline void check_mask(const char* op, const Variable& x, const Tensor& mask) {
  const DType dtype = parameter_dtype(x.dtype());
  check(!mask.defined() || (mask.ndim() == 1 && mask.dim(0) == x.dim(0) && mask.dtype() == dtype),
        "{}: the mask must be {} [{}]", op, name_of(dtype), x.dim(0));
}

inline Tensor value_or_none(const Variable& v) {
  return v.defined() ? v.value().contiguous() : Tensor();
}

}  // namespace nextgrad
