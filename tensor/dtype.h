// Element types. f32 and f64 compute; bf16, i64, i32 and u8 are storage, indices and masks.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "tensor/error.h"

namespace nextgrad {

enum class DType : std::uint8_t { f32, f64, bf16, i64, i32, u8 };

// The upper half of a float32, rounded to nearest even; storage only, arithmetic goes through
// float.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  explicit bfloat16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    bits = static_cast<std::uint16_t>(nan ? (u >> 16) | 0x40u : rounded);
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

// A floating number as an integer: towards zero; beyond the range its nearest limit; NaN is 0.
template <class To, class From>
constexpr To saturated(From v) {
  using Limits = std::numeric_limits<To>;
  if (v >= static_cast<From>(Limits::max())) return Limits::max();
  if (v <= static_cast<From>(Limits::min())) return Limits::min();
  return v == v ? static_cast<To>(v) : To(0);
}

std::size_t size_of(DType dtype);  // bytes of one element
const char* name_of(DType dtype);  // "f32", "f64", ...
inline bool is_floating(DType d) {
  return d == DType::f32 || d == DType::f64 || d == DType::bf16;
}

// The dtype of the parameters, statistics and parameter gradients that go with activations of this
// one: bf16 is for activations only.
inline DType parameter_dtype(DType activations) {
  return activations == DType::bf16 ? DType::f32 : activations;
}

template <class T>
inline constexpr DType dtype_of = T::is_no_element_type;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<bfloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;

// Calls fn(T{}) with the C++ type of a computing dtype (f32 or f64); throws for the others.
template <class Fn>
decltype(auto) dispatch_float(DType dtype, const char* op, Fn&& fn) {
  if (dtype == DType::f32) return fn(float{});
  if (dtype == DType::f64) return fn(double{});
  fail("{}: computes in f32 or f64, got {}; convert with to()", op, name_of(dtype));
}

// Calls fn(T{}) with the C++ type of any dtype.
template <class Fn>
decltype(auto) dispatch_all(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f32:
      return fn(float{});
    case DType::f64:
      return fn(double{});
    case DType::bf16:
      return fn(bfloat16{});
    case DType::i64:
      return fn(std::int64_t{});
    case DType::i32:
      return fn(std::int32_t{});
    case DType::u8:
      return fn(std::uint8_t{});
  }
  fail("unknown dtype {}", static_cast<int>(dtype));
}

}  // namespace nextgrad
