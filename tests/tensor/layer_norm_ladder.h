// Layer norm (forward, CPU) as a ladder: the same arithmetic from textbook loops to the kernel that
// ships, a step at a time. Every step is tested against the first (test_layer_norm_ladder.cpp) and
// timed beside the others (time_layer_norm_ladder.cpp, `layer_norm_ladder` in the build).
#pragma once

#include <span>

#include "tensor/backend.h"

namespace nextgrad::test {

struct LadderStep {
  const char* name;
  // x [..., C] in f32 or f64, gamma and beta [C]; as Backend::layer_norm().
  NormResult (*run)(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps);
};

// The first is the reference, the last the backend's own.
std::span<const LadderStep> layer_norm_ladder();

}  // namespace nextgrad::test
