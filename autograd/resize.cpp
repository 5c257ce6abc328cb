#include "autograd/resize.h"

#include "autograd/checks.h"

namespace nextgrad {

// y = A x, A the interpolation's weights: dx = A^T dy
Variable resize(const Variable& x, std::int64_t h, std::int64_t w, Resize mode) {
  check_floating("resize", x);
  check(x.ndim() == 4 && x.numel() > 0, "resize: wants [N,H,W,C], got {}", x.shape().str());
  check(h > 0 && w > 0, "resize: {}x{} is no size", h, w);
  return record("resize", x.backend().resize(x.value().contiguous(), h, w, mode), {x},
                [from = x.shape(), mode](const Tensor& dy) -> std::vector<Tensor> {
                  return {dy.backend().resize_backward(from, dy.contiguous(), mode)};
                });
}

}  // namespace nextgrad
