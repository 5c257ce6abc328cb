// Activations; their formulas and slopes stand in tensor/elementwise.h.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

Variable relu(const Variable& x);
Variable gelu(const Variable& x);  // x Phi(x), exact (Hendrycks and Gimpel 2016)
Variable sigmoid(const Variable& x);
Variable silu(const Variable& x);       // x sigmoid(x)
Variable hardswish(const Variable& x);  // x clamp(x + 3, 0, 6) / 6 (Howard et al. 2019)
Variable tanh(const Variable& x);

}  // namespace nextgrad
