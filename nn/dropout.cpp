#include "nn/dropout.h"

#include "autograd/residual.h"
#include "nn/random.h"

namespace nextgrad {

namespace {

void check_probability(const char* layer, double p) {
  check(p >= 0 && p < 1, "{}: probability {} must be at least 0 and below 1", layer, p);
}

Tensor mask_of(const Variable& x, const Shape& shape, double p) {
  return x.backend().dropout_mask(shape, parameter_dtype(x.dtype()), p, next_random_key());
}

}  // namespace

Dropout::Dropout(double p) : p_(p) {
  check_probability("Dropout", p);
}

Variable Dropout::forward(const Variable& x) const {
  if (!training() || p_ == 0) return x;
  return apply_mask(x, mask_of(x, x.shape(), p_));
}

ChannelDropout::ChannelDropout(double p) : p_(p) {
  check_probability("ChannelDropout", p);
}

Variable ChannelDropout::forward(const Variable& x) const {
  if (!training() || p_ == 0) return x;
  return apply_mask(x, mask_of(x, {x.dim(0), 1, 1, x.dim(3)}, p_));
}

DropPath::DropPath(double p) : p_(p) {
  check_probability("DropPath", p);
}

Tensor DropPath::mask(const Variable& x) const {
  if (!training() || p_ == 0) return {};
  return mask_of(x, {x.dim(0)}, p_);
}

Variable DropPath::forward(const Variable& x) const {
  const Tensor m = mask(x);
  if (!m.defined()) return x;
  Shape broadcast{x.dim(0)};
  while (broadcast.size() < x.ndim()) broadcast.push_back(1);
  return apply_mask(x, m.reshape(broadcast));
}

}  // namespace nextgrad
