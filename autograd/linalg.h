// Small dense linear algebra.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// Inverse of each matrix of a batch [B,R,R], on the host (R is small). Throws for a singular one.
Variable inverse(const Variable& matrices);
// x / max(norm(x over axis), eps).
Variable normalize(const Variable& x, int axis, double eps = 1e-12);

}  // namespace nextgrad
