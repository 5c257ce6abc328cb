// What the tests of bf16 activations share: an op on bf16 numbers against the same op in f32 on the
// same, already rounded numbers.
#pragma once

#include "tests/tensor/kernel_test.h"

namespace nextgrad::test {

struct Rounded {
  Tensor bf16, f32;  // the same numbers
};
inline Rounded rounded(const Shape& shape, std::uint64_t seed, double lo = -2, double hi = 2) {
  const Tensor b = random_tensor<float>(shape, seed, lo, hi).to(DType::bf16);
  return {b, b.to(DType::f32)};
}

// The result of one rounding to bf16, and of arithmetic in f32 that is not rounded.
constexpr double kRounded = 1.0 / 128, kExact = 2e-5;

// An activation: bf16, once rounded.
inline void check_activation(const Tensor& got, const Tensor& want) {
  CHECK(got.dtype() == DType::bf16);
  CHECK(worst(got, want) < kRounded);
}
// A statistic, a loss or a parameter's gradient: f32.
inline void check_parameter(const Tensor& got, const Tensor& want) {
  CHECK(got.dtype() == DType::f32);
  CHECK(worst(got, want) < kExact);
}

}  // namespace nextgrad::test
