// What an optimiser's step is told of each parameter.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace nextgrad {

// One parameter's part in an optimiser's step, all tensors of one shape and dtype.
struct OptimizerSlot {
  Tensor p, grad;
  Tensor m, v;  // AdamW: the moments; SGD: m is the momentum buffer
  double lr, weight_decay;
  std::int64_t step;  // 1-based, for bias correction; less what is in `refused`
  // i64 [1] or undefined: grows by 1 if nothing is changed because the norm is not finite. So the
  // device counts, and nobody waits for it to tell.
  Tensor refused = {};
};
// The gradients' common norm [], f64, as Backend::norm() gives it: gradients are multiplied by
// min(1, largest / norm), and nothing at all is changed if the norm is not finite. Undefined: no
// such check.
struct GradientNorm {
  Tensor norm;
  double largest = 0;  // 0: no limit
};

}  // namespace nextgrad
