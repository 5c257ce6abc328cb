// Pooling.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// x [N,H,W,C] -> [N,h,w,C]: row i of h is the mean of the rows from floor(i H / h) to before
// ceil((i + 1) H / h), and so are columns, as PyTorch's adaptive_avg_pool2d has it. h and w may be
// above H and W: neighbouring means then are of the same pixels.
Variable adaptive_average_pool(const Variable& x, std::int64_t h, std::int64_t w);

}  // namespace nextgrad
