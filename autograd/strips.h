// Multi-scale strip convolutions in one op.
#pragma once

#include <vector>

#include "autograd/variable.h"

namespace nextgrad {

// A k x k depth-wise kernel as its cheap cousin, 1 x k then k x 1: row [1,k,C], column [k,1,C], k
// odd; biases [C] or undefined.
struct StripVariables {
  Variable row, row_bias, column, column_bias;
};

// y = x + sum over strips of column * (row * x), each convolution with its bias, the size kept by
// zeros around the image: x [N,H,W,C]. Throws on mismatched channels or an even kernel.
Variable strips(const Variable& x, const std::vector<StripVariables>& strips);

}  // namespace nextgrad
