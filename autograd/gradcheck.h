// Derivatives checked against central differences.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace nextgrad {

struct GradcheckResult {
  double worst = 0;   // largest relative error over all elements of all inputs
  std::string where;  // "input 1, element 17: analytic 0.5, numeric 0.4"
  bool ok(double tolerance = 1e-6) const { return worst < tolerance; }
};

// Compares backward() of sum(fn(inputs) * cotangent), cotangent a fixed random tensor of both signs
// (itself non-contiguous when `strided`), with central differences of step `h`, for every element
// (at most `most` per input, spread evenly) of every f64 input that requires a gradient. Relative
// error: |a - n| / max(|a|, |n|, a hundredth of this input's largest derivative), after what
// rounding can have put into n. Throws if there is nothing to compare.
GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& fn,
                          const std::vector<Variable>& inputs, bool strided = true, double h = 1e-5,
                          int most = 200);

}  // namespace nextgrad
