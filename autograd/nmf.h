// Matrix factorisation as an op.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// The reconstruction of each x [B,P,D] by Backend::nmf() from given bases [B,D,R], which are
// constants. Differentiated through all its steps, or through the last coefficients alone if
// `one_step`. `coef` receives the coefficients [B,P,R]. Throws unless x is of three axes and the
// bases fit it.
Variable nmf(const Variable& x, const Tensor& bases, const NmfOptions& options, bool one_step,
             Tensor* coef = nullptr);

}  // namespace nextgrad
