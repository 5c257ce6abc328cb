// Where a tensor's numbers lie: to compare, not to read.
#pragma once

#include "tensor/tensor.h"

namespace nextgrad {

inline const void* place_of(const Tensor& t) {
  return t.raw();
}

}  // namespace nextgrad
