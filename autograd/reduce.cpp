#include "autograd/reduce.h"

#include <algorithm>
#include <numeric>

#include "autograd/arithmetic.h"
#include "autograd/checks.h"
#include "autograd/shape_ops.h"
#include "tensor/ops.h"

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

// dx = dy, for a mean divided by the count, broadcast
Variable reduced(const char* name, Reduce op, const Variable& x, std::vector<int> wanted,
                 bool keep) {
  check_floating(name, x);
  const std::vector<int> axes = resolved(x.shape(), std::move(wanted));
  const Tensor in = x.value().contiguous();
  const Tensor y = axes.empty() ? in.clone() : in.backend().reduce(op, in, axes);
  const double count = static_cast<double>(std::max<std::int64_t>(1, in.numel()));
  return record(name, keep ? y : y.reshape(without(y.shape(), axes)), {x},
                [op, share = static_cast<double>(y.numel()) / count, from = x.shape(),
                 kept = y.shape()](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor g = dy.reshape(kept);
                  return {(op == Reduce::mean ? g * share : g).expand(from)};
                });
}

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
  check_floating("softmax", x);
  const int a = x.shape().axis(axis);
  if (a == x.ndim() - 1) return softmax_last(x, log);
  return transpose(softmax_last(transpose(x, a, -1), log), a, -1);
}

}  // namespace

Variable sum(const Variable& x, std::vector<int> axes, bool keep) {
  return reduced("sum", Reduce::sum, x, std::move(axes), keep);
}
Variable mean(const Variable& x, std::vector<int> axes, bool keep) {
  return reduced("mean", Reduce::mean, x, std::move(axes), keep);
}
Variable softmax(const Variable& x, int axis) {
  return softmax_over(x, axis, false);
}
Variable log_softmax(const Variable& x, int axis) {
  return softmax_over(x, axis, true);
}

Tensor argmax(const Tensor& x, int axis) {
  return x.backend().argmax(x.contiguous(), axis);
}

}  // namespace nextgrad
