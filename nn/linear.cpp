#include "nn/linear.h"

namespace nextgrad {

Linear::Linear(std::int64_t in, std::int64_t out, bool with_bias) {
  weight = parameter("weight", {out, in}, Init::truncated_normal(0.02));
  if (with_bias) bias = parameter("bias", {out}, Init::constant(0));
}

}  // namespace nextgrad
