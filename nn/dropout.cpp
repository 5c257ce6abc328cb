#include "nn/dropout.h"

#include "autograd/fused.h"
#include "nn/random.h"

namespace nextgrad {

RandomMask::RandomMask(const char* layer, double p) : p_(p) {
  check(p >= 0 && p < 1, "{}: probability {} must be at least 0 and below 1", layer, p);
}

Tensor RandomMask::mask_of(const Variable& x, const Shape& shape) const {
  if (!training() || p_ == 0) return {};
  return draw_share(shape, [&](const Shape& of, const RandomKey& key) {
    return x.backend().dropout_mask(of, parameter_dtype(x.dtype()), p_, key);
  });
}

Variable RandomMask::masked(const Variable& x, const Shape& shape) const {
  const Tensor mask = mask_of(x, shape);
  return mask.defined() ? apply_mask(x, mask) : x;
}

Variable DropPath::forward(Variable x) const {
  const Tensor mask = mask_of(x, {x.dim(0)});
  return mask.defined() ? scale_images(std::move(x), mask) : x;
}

}  // namespace nextgrad
