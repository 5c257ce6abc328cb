// Where a tensor's numbers lie: to compare, not to read.
#pragma once

#include "tensor/tensor.h"

namespace nextgrad {

inline const void* address_of(const Tensor& t) {
  return t.raw();
}

}  // namespace nextgrad
