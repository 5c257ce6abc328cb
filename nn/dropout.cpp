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
    if (Tensor drawn = DrawnMasks::find(key, of, parameter_dtype(x.dtype()), p_); drawn.defined())
      return drawn;
    return x.backend().dropout_mask(of, parameter_dtype(x.dtype()), p_, key);
  });
}

Variable RandomMask::masked(const Variable& x, const Shape& shape) const {
  const Tensor mask = mask_of(x, shape);
  return mask.defined() ? apply_mask(x, mask) : x;
}

namespace {
thread_local const DrawnMasks* drawn_masks = nullptr;
}  // namespace

DrawnMasks::DrawnMasks(Backend& backend, std::int64_t n, DType dtype, const std::vector<double>& p)
    : first_(coming_random_key()), p_(p), before_(std::exchange(drawn_masks, this)) {
  if (!p.empty()) masks_ = backend.dropout_masks(n, dtype, p, first_);
}
DrawnMasks::~DrawnMasks() {
  drawn_masks = before_;
}
Tensor DrawnMasks::find(const RandomKey& key, const Shape& shape, DType dtype, double p) {
  if (drawn_masks == nullptr || !drawn_masks->masks_.defined()) return {};
  const auto& [first, all, masks, before] = *drawn_masks;
  const std::int64_t i = std::int64_t{key.use} - first.use;
  if (key.seed != first.seed || key.iteration != first.iteration || key.first != 0 || i < 0 ||
      i >= masks.dim(0) || all[static_cast<std::size_t>(i)] != p || shape != Shape{masks.dim(1)} ||
      dtype != masks.dtype())
    return {};
  return masks.slice(0, i, i + 1).squeeze(0);
}

Variable DropPath::forward(Variable x) const {
  const Tensor mask = mask_of(x, {x.dim(0)});
  return mask.defined() ? scale_images(std::move(x), mask) : x;
}

}  // namespace nextgrad
