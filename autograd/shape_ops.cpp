#include "autograd/shape_ops.h"

#include "autograd/checks.h"
#include "autograd/fuse.h"
#include "tensor/ops.h"

namespace nextgrad {

// A view moves no numbers; its gradient is the same view undone. For slices the gradient is zero
// outside, for broadcasts it is summed.

Variable reshape(const Variable& x, const Shape& shape) {
  return record(
      "reshape", x.value().reshape(shape), {x},
      [from = x.shape()](const Tensor& dy) -> std::vector<Tensor> { return {dy.reshape(from)}; });
}

Variable slice(const Variable& x, int axis, std::int64_t begin, std::int64_t end,
               std::int64_t step) {
  return record(
      "slice", x.value().slice(axis, begin, end, step), {x},
      [from = x.shape(), axis, begin, end, step](const Tensor& dy) -> std::vector<Tensor> {
        Tensor dx = Tensor::zeros(from, dy.dtype(), dy.device());
        dx.slice(axis, begin, end, step).copy_(dy);
        return {dx};
      });
}

Variable permute(const Variable& x, const std::vector<int>& axes) {
  Tensor y = x.value().permute(axes);
  std::vector<int> inverse(axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i)
    inverse[static_cast<std::size_t>(x.shape().axis(axes[i]))] = static_cast<int>(i);
  return record("permute", std::move(y), {x}, [inverse](const Tensor& dy) -> std::vector<Tensor> {
    return {dy.permute(inverse)};
  });
}

Variable transpose(const Variable& x, int a, int b) {
  return record("transpose", x.value().transpose(a, b), {x},
                [a, b](const Tensor& dy) -> std::vector<Tensor> { return {dy.transpose(a, b)}; });
}

Variable expand(const Variable& x, const Shape& shape) {
  return record(
      "expand", x.value().expand(shape), {x},
      [from = x.shape()](const Tensor& dy) -> std::vector<Tensor> { return {sum_to(dy, from)}; });
}

Variable cast(const Variable& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  return record(
      "cast", x.value().to(dtype), {x},
      [from = x.dtype()](const Tensor& dy) -> std::vector<Tensor> { return {dy.to(from)}; });
}

Variable concat(const std::vector<Variable>& parts, int axis) {
  check(!parts.empty(), "concat: nothing to concatenate");
  Shape shape = parts[0].shape();
  const int a = shape.axis(axis);
  std::vector<std::int64_t> extents;
  std::int64_t total = 0;
  for (const Variable& part : parts) {
    check_same("concat", parts[0], part);
    Shape like = part.shape();
    check(like.size() == shape.size(), "concat: shapes {} and {} do not fit", shape, like);
    extents.push_back(like[a]);
    total += like[a];
    like[a] = shape[a];
    check(like == shape, "concat along axis {}: shapes {} and {} do not fit", a, shape,
          part.shape());
  }
  shape[a] = total;
  Tensor y = Tensor::empty(shape, parts[0].dtype(), parts[0].device());
  std::int64_t at = 0;
  for (std::size_t i = 0; i < parts.size(); at += extents[i++])
    y.slice(a, at, at + extents[i]).copy_(parts[i].value());
  return record("concat", y, parts, [a, extents](const Tensor& dy) {
    std::vector<Tensor> gradients;
    std::int64_t from = 0;
    for (const std::int64_t extent : extents) {
      gradients.push_back(dy.slice(a, from, from + extent));
      from += extent;
    }
    return gradients;
  });
}

Variable join_resized(const std::vector<Variable>& parts, std::int64_t h, std::int64_t w) {
  check(!parts.empty(), "join_resized: nothing to join");
  check(h > 0 && w > 0, "join_resized: {}x{} is no size", h, w);
  std::int64_t channels = 0;
  for (const Variable& part : parts) {
    check_floating("join_resized", part);
    check_same("join_resized", parts[0], part);
    check(part.ndim() == 4 && part.numel() > 0 && part.dim(0) == parts[0].dim(0),
          "join_resized: wants [N,h,w,C] of one N, got {} beside {}", part.shape(),
          parts[0].shape());
    channels += part.dim(3);
  }
  const Shape shape{parts[0].dim(0), h, w, channels};
  return uncooked(JoinRecipe{parts, h, w}, shape);
}

Variable gather(const Variable& x, int axis, const Tensor& index) {
  check_floating("gather", x);
  check(index.dtype() == DType::i64, "gather: the index must be i64, got {}",
        name_of(index.dtype()));
  const Tensor at = index.contiguous();
  return record("gather", x.backend().gather(x.value().contiguous(), axis, at), {x},
                [axis, from = x.shape(), at = Saved(at)](const Tensor& dy) -> std::vector<Tensor> {
                  return {dy.backend().gather_backward(from, axis, at.get(), dy.contiguous())};
                });
}

// y = A x, A the interpolation's weights: dx = A^T dy
Variable resize(const Variable& x, std::int64_t h, std::int64_t w, Resize mode) {
  check_floating("resize", x);
  check(x.ndim() == 4 && x.numel() > 0, "resize: wants [N,H,W,C], got {}", x.shape());
  check(h > 0 && w > 0, "resize: {}x{} is no size", h, w);
  return record("resize", x.backend().resize(x.value().contiguous(), h, w, mode), {x},
                [from = x.shape(), mode](const Tensor& dy) -> std::vector<Tensor> {
                  return {dy.backend().resize_backward(from, dy.contiguous(), mode)};
                });
}

}  // namespace nextgrad
