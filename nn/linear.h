// Linear layer.
#pragma once

#include "autograd/matmul.h"
#include "nn/module.h"

namespace nextgrad {

// x [..., in] -> [..., out]; parameters weight [out,in], drawn N(0, 0.02) cut at two deviations (as
// transformers and VAN do), and bias [out].
class Linear : public Module {
 public:
  Linear(std::int64_t in, std::int64_t out, bool with_bias = true)
      : weight(parameter("weight", {out, in}, Init::truncated_normal(0.02))) {
    if (with_bias) bias = parameter("bias", {out}, Init::constant(0));
  }
  Variable forward(Variable x) const override { return linear(std::move(x), weight, bias); }

  Variable weight, bias;
};

}  // namespace nextgrad
