// Inputs and gradient checks for the tests of autograd/.
#pragma once

#include <doctest/doctest.h>

#include "autograd/gradcheck.h"
#include "autograd/variable.h"
#include "tests/compare.h"
#include "tests/device.h"

namespace nextgrad::test {

// Normal numbers, the same for the same `use`, on the device under test.
inline Tensor normal(const Shape& shape, std::uint32_t use, DType dtype = DType::f64) {
  const Tensor t = backend_of({}).random_normal(shape, DType::f64, {42, 0, use, 0});
  return t.to(dtype).to(test_device());
}
inline Variable leaf(const Shape& shape, std::uint32_t use) {
  return Variable(normal(shape, use), true);
}
// Like leaf, but a view with gaps: every op must take inputs that are not contiguous.
inline Variable strided_leaf(const Shape& shape, std::uint32_t use) {
  Shape wide = shape;
  wide[wide.size() - 1] *= 2;
  return Variable(normal(wide, use).slice(-1, 0, wide[wide.size() - 1], 2), true);
}

using Fn = std::function<Variable(const std::vector<Variable>&)>;

inline void require_gradcheck(const Fn& fn, const std::vector<Variable>& inputs,
                              double tolerance = 1e-6) {
  for (const bool strided : {true, false}) {
    const GradcheckResult r = gradcheck(fn, inputs, strided);
    INFO(r.where);
    CHECK(r.worst < tolerance);
  }
}

// The op in f32 agrees with f64: value and the gradients of all inputs.
inline void require_f32_like_f64(const Fn& fn, const std::vector<Variable>& inputs,
                                 double tolerance = 1e-4) {
  std::vector<Variable> single, twice;
  for (const Variable& input : inputs) {
    const bool floating = is_floating(input.dtype());
    const Tensor narrow = floating ? input.value().to(DType::f32) : input.value();
    single.emplace_back(narrow, input.requires_grad());
    twice.emplace_back(floating ? narrow.to(DType::f64) : narrow, input.requires_grad());
  }
  const Variable a = fn(single), b = fn(twice);
  CHECK(a.dtype() == DType::f32);
  CHECK(difference(a.value(), b.value()) < tolerance);
  const Tensor seed = normal(a.shape(), 777, DType::f32);
  a.backward(seed);
  b.backward(seed.to(DType::f64));
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].requires_grad())
      CHECK(difference(single[i].grad(), twice[i].grad()) < tolerance * 10);
}

// A fused op and the composition it stands for: the same value and gradients in f64.
inline void require_same(const Fn& fused, const Fn& composed, const std::vector<Variable>& inputs,
                         double tolerance = 1e-12) {
  std::vector<Variable> mine, theirs;
  for (const Variable& v : inputs) {
    mine.emplace_back(v.value(), v.requires_grad());
    theirs.emplace_back(v.value(), v.requires_grad());
  }
  const Variable a = fused(mine), b = composed(theirs);
  CHECK(difference(a.value(), b.value()) < tolerance);
  const Tensor seed = normal(a.shape(), 778);
  a.backward(seed);
  b.backward(seed);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].requires_grad()) CHECK(difference(mine[i].grad(), theirs[i].grad()) < tolerance);
}

inline void require_op(const Fn& fn, const std::vector<Variable>& inputs) {
  require_gradcheck(fn, inputs);
  require_f32_like_f64(fn, inputs);
}

}  // namespace nextgrad::test
