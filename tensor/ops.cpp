#include "tensor/ops.h"

namespace nextgrad {

namespace {

void check_alike(const char* op, const Tensor& a, const Tensor& b) {
  check(a.defined() && b.defined(), "{}: an input is undefined", op);
  check(a.dtype() == b.dtype() && a.device() == b.device(),
        "{}: inputs are {} on {} and {} on {}; convert one with to()", op, name_of(a.dtype()),
        a.device(), name_of(b.dtype()), b.device());
}

Tensor binary(Binary op, const Tensor& a, const Tensor& b) {
  check_alike(name_of(op), a, b);
  return a.backend().binary(op, a, b);
}

}  // namespace

Tensor operator+(const Tensor& a, const Tensor& b) {
  return binary(Binary::add, a, b);
}
Tensor operator-(const Tensor& a, const Tensor& b) {
  return binary(Binary::sub, a, b);
}
Tensor operator*(const Tensor& a, const Tensor& b) {
  return binary(Binary::mul, a, b);
}
Tensor operator/(const Tensor& a, const Tensor& b) {
  return binary(Binary::div, a, b);
}
Tensor operator+(const Tensor& x, double c) {
  return apply(Unary::add_scalar, x, c);
}
Tensor operator*(const Tensor& x, double c) {
  return apply(Unary::mul_scalar, x, c);
}
Tensor operator-(const Tensor& x) {
  return apply(Unary::neg, x);
}

Tensor apply(Unary op, const Tensor& x, double alpha) {
  return x.backend().unary(op, x.contiguous(), alpha);
}
Tensor slope_times(Unary op, const Tensor& read, const Tensor& dy, double alpha) {
  return dy.backend().unary_backward(op, read, dy.contiguous(), alpha);
}

Tensor sum(const Tensor& x, const std::vector<int>& axes) {
  return x.backend().reduce(Reduce::sum, x.contiguous(), axes);
}
Tensor mean(const Tensor& x, const std::vector<int>& axes) {
  return x.backend().reduce(Reduce::mean, x.contiguous(), axes);
}
Tensor softmax(const Tensor& x) {
  return x.backend().softmax(x.contiguous(), false);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  std::vector<int> axes;
  const int added = x.ndim() - shape.size();
  for (int a = 0; a < x.ndim(); ++a)
    if (a < added || (shape[a - added] == 1 && x.dim(a) != 1)) axes.push_back(a);
  return (axes.empty() ? x.contiguous() : sum(x, axes)).reshape(shape);
}

bool all_finite(const Tensor& x) {
  return sum_to(x.to(parameter_dtype(x.dtype())) * 0.0, {}).item() == 0;  // infinity * 0 is NaN
}

Tensor matmul(const Tensor& a, const Tensor& b, bool ta, bool tb) {
  check_alike("matmul", a, b);
  const auto batched = [](const Tensor& x) {
    return x.ndim() == 2 ? x.unsqueeze(0).contiguous() : x.contiguous();
  };
  const Tensor x = batched(a), y = batched(b);
  check(x.ndim() == 3 && y.ndim() == 3 && x.dim(ta ? 1 : 2) == y.dim(tb ? 2 : 1) &&
            (x.dim(0) == y.dim(0) || x.dim(0) == 1 || y.dim(0) == 1),
        "matmul: {}{} and {}{} do not fit", a.shape(), ta ? "^T" : "", b.shape(), tb ? "^T" : "");
  const Tensor c = x.backend().matmul(x, y, ta, tb);
  return a.ndim() == 2 && b.ndim() == 2 ? c.squeeze(0) : c;
}

}  // namespace nextgrad
