// Reductions and softmax.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// Over the given axes (all of them if empty), which vanish unless `keep`.
Variable sum(const Variable& x, std::vector<int> axes = {}, bool keep = false);
Variable mean(const Variable& x, std::vector<int> axes = {}, bool keep = false);

// i64, without the axis; the first of equals. No gradient.
Tensor argmax(const Tensor& x, int axis);

Variable softmax(const Variable& x, int axis = -1);
Variable log_softmax(const Variable& x, int axis = -1);

}  // namespace nextgrad
