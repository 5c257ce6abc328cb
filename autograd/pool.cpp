#include "autograd/pool.h"

#include "autograd/checks.h"
#include "autograd/reduce.h"

namespace nextgrad {

namespace {

void check_pool(const char* op, const Variable& x, const Window& w) {
  check_floating(op, x.value());
  check(x.ndim() == 4, "{}: wants [N,H,W,C], got {}", op, x.shape().str());
  check(w.dilation_h == 1 && w.dilation_w == 1, "{}: dilation is not supported", op);
  check(w.kh > 0 && w.kw > 0 && w.stride_h > 0 && w.stride_w > 0 && w.pad_h >= 0 && w.pad_w >= 0 &&
            2 * w.pad_h <= w.kh && 2 * w.pad_w <= w.kw,
        "{}: window {}x{} wants positive strides and paddings of at most half of it", op, w.kh,
        w.kw);
  check(x.dim(1) + 2 * w.pad_h >= w.kh && x.dim(2) + 2 * w.pad_w >= w.kw,
        "{}: a {}x{} window does not fit the input {}", op, w.kh, w.kw, x.shape().str());
}

}  // namespace

// dx: each dy goes to the input that was the maximum
Variable max_pool2d(const Variable& x, Window window) {
  check_pool("max_pool2d", x, window);
  Tensor indices;
  Tensor y = x.backend().max_pool(x.value().contiguous(), window, indices);
  return record(
      "max_pool2d", y, {x},
      [from = x.shape(), indices = Saved(indices)](const Tensor& dy) -> std::vector<Tensor> {
        return {dy.backend().max_pool_backward(from, indices.get(), dy.contiguous())};
      });
}

// dx: each dy is shared evenly by its window
Variable average_pool2d(const Variable& x, Window window, bool count_padding) {
  check_pool("average_pool2d", x, window);
  return record(
      "average_pool2d", x.backend().average_pool(x.value().contiguous(), window, count_padding),
      {x}, [from = x.shape(), window, count_padding](const Tensor& dy) -> std::vector<Tensor> {
        return {dy.backend().average_pool_backward(from, dy.contiguous(), window, count_padding)};
      });
}

Variable global_average_pool(const Variable& x) {
  check(x.ndim() == 4, "global_average_pool: wants [N,H,W,C], got {}", x.shape().str());
  return mean(x, {1, 2});
}

}  // namespace nextgrad
