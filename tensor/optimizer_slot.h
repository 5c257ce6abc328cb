// What an optimiser's step is told of each parameter and of itself.
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

// Decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019,
// Algorithm 2): p -= lr wd p; m, v updated; p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) +
// eps).
struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
};
// PyTorch's convention: g = grad + wd p; m = momentum m + g (step 1: g); p -= lr (nesterov ? g +
// momentum m : m).
struct SGDOptions {
  double momentum = 0.9, weight_decay = 0;
  bool nesterov = false;
};

}  // namespace nextgrad
