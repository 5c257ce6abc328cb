// Weights that take over an affine map of every channel before or after them, where nothing
// records: a batch norm in evaluation, a layer scale. What is folded is kept while its parts stay
// as they are (tensor/derived.h).
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

struct Weights {
  Variable weight, bias;  // [O, ...]; [O] or undefined
};
// Of W (scale x + shift) + b, weight [O, I].
Weights fold_input(const Weights& w, const Variable& scale, const Variable& shift);
// Of scale (W x + b) + shift; shift may be undefined.
Weights fold_output(const Weights& w, const Variable& scale, const Variable& shift = {});
// Of x + factor (scale x + shift), as a scale and a shift of x; factor may be undefined (1).
Weights fold_residual(const Variable& scale, const Variable& shift, const Variable& factor);

// Columns [from, to) of a weight [O, I].
Variable kept_columns(const Variable& weight, std::int64_t from, std::int64_t to);

}  // namespace nextgrad
