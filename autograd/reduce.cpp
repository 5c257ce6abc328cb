#include "autograd/reduce.h"

#include <algorithm>
#include <numeric>

#include "autograd/arithmetic.h"
#include "autograd/checks.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

std::vector<int> resolved(const Shape& shape, std::vector<int> axes) {
  if (axes.empty()) {
    axes.resize(static_cast<std::size_t>(shape.size()));
    std::iota(axes.begin(), axes.end(), 0);
  }
  for (int& a : axes) a = shape.axis(a);
  std::sort(axes.begin(), axes.end());
  check(std::adjacent_find(axes.begin(), axes.end()) == axes.end(),
        "reduce: an axis appears twice");
  return axes;
}

Shape without(const Shape& kept, const std::vector<int>& axes) {
  Shape shape;
  for (int a = 0; a < kept.size(); ++a)
    if (!std::binary_search(axes.begin(), axes.end(), a)) shape.push_back(kept[a]);
  return shape;
}

// Reduces; `gradient(dy)` maps dy (reduced axes kept as 1) to dx.
Variable reduced(const char* name, Reduce op, const Variable& x, std::vector<int> wanted, bool keep,
                 const std::function<Backward(const Tensor& in, const Tensor& y)>& gradient) {
  check_floating(name, x.value());
  const std::vector<int> axes = resolved(x.shape(), std::move(wanted));
  const Tensor in = x.value().contiguous();
  const Tensor y = axes.empty() ? in.clone() : in.backend().reduce(op, in, axes);
  const Shape kept = y.shape();
  return record(
      name, keep ? y : y.reshape(without(kept, axes)), {x},
      [kept, inner = gradient(in, y)](const Tensor& dy) { return inner(dy.reshape(kept)); });
}

}  // namespace

// dx = dy, broadcast
Variable sum(const Variable& x, std::vector<int> axes, bool keep) {
  return reduced("sum", Reduce::sum, x, std::move(axes), keep,
                 [](const Tensor& in, const Tensor&) -> Backward {
                   return [shape = in.shape()](const Tensor& dy) -> std::vector<Tensor> {
                     return {dy.expand(shape)};
                   };
                 });
}

// dx = dy / count, broadcast
Variable mean(const Variable& x, std::vector<int> axes, bool keep) {
  return reduced(
      "mean", Reduce::mean, x, std::move(axes), keep,
      [](const Tensor& in, const Tensor& y) -> Backward {
        const double scale = static_cast<double>(y.numel()) /
                             static_cast<double>(std::max<std::int64_t>(1, in.numel()));
        return [shape = in.shape(), scale](const Tensor& dy) -> std::vector<Tensor> {
          return {dy.backend().unary(Unary::mul_scalar, dy.contiguous(), scale).expand(shape)};
        };
      });
}

// dx = dy where x is the maximum, divided by how many elements are
Variable max(const Variable& x, std::vector<int> axes, bool keep) {
  return reduced("max", Reduce::max, x, std::move(axes), keep,
                 [](const Tensor& in, const Tensor& y) -> Backward {
                   return [in = Saved(in), y = Saved(y)](const Tensor& dy) -> std::vector<Tensor> {
                     Backend& b = dy.backend();
                     const Tensor hit = b.compare(Compare::eq, in.get(), y.get()).to(dy.dtype());
                     const Tensor share = b.binary(Binary::div, dy, sum_to(hit, dy.shape()));
                     return {b.binary(Binary::mul, hit, share)};
                   };
                 });
}

Tensor argmax(const Tensor& x, int axis) {
  check_floating("argmax", x);
  const int a = x.shape().axis(axis);
  check(x.dim(a) > 0, "argmax: axis {} of {} is empty", a, x.shape().str());
  return x.backend().argmax(x.contiguous(), a);
}

namespace {

// softmax: dx = y (dy - sum(y dy)); log-softmax: dx = dy - exp(y) sum(dy)
Variable softmax_last(const Variable& x, bool log) {
  const Tensor in = x.value().contiguous();
  Tensor y = in.backend().softmax(in, log);
  return record(log ? "log_softmax" : "softmax", y, {x},
                [log, y = Saved(y)](const Tensor& dy) -> std::vector<Tensor> {
                  return {dy.backend().softmax_backward(y.get(), dy.contiguous(), log)};
                });
}

Variable softmax_over(const Variable& x, int axis, bool log) {
  check_floating("softmax", x.value());
  const int a = x.shape().axis(axis);
  if (a == x.ndim() - 1) return softmax_last(x, log);
  return transpose(softmax_last(transpose(x, a, -1), log), a, -1);
}

}  // namespace

Variable softmax(const Variable& x, int axis) {
  return softmax_over(x, axis, false);
}
Variable log_softmax(const Variable& x, int axis) {
  return softmax_over(x, axis, true);
}

}  // namespace nextgrad
