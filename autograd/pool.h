// Pooling, x [N,H,W,C].
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

Variable max_pool2d(const Variable& x, Window window);
Variable average_pool2d(const Variable& x, Window window, bool count_padding = true);
Variable global_average_pool(const Variable& x);  // [N,H,W,C] -> [N,C]

}  // namespace nextgrad
