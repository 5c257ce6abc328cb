#include "autograd/arithmetic.h"

#include "autograd/checks.h"

namespace nextgrad {

Tensor sum_to(const Tensor& g, const Shape& shape) {
  if (g.shape() == shape) return g;
  std::vector<int> axes;
  const int added = g.ndim() - shape.size();
  for (int a = 0; a < g.ndim(); ++a)
    if (a < added || (shape[a - added] == 1 && g.dim(a) != 1)) axes.push_back(a);
  const Tensor source = g.contiguous();
  return (axes.empty() ? source : g.backend().reduce(Reduce::sum, source, axes)).reshape(shape);
}

namespace {

Tensor binary(Binary op, const Tensor& a, const Tensor& b) {
  return a.backend().binary(op, a, b);
}

Tensor scaled(const Tensor& x, double factor) {
  return x.backend().unary(Unary::mul_scalar, x.contiguous(), factor);
}

void check_pair(const char* op, const Variable& a, const Variable& b) {
  check_floating(op, a.value());
  check_same(op, a.value(), b.value());
  broadcast(a.shape(), b.shape());
}

// y = f(x), elementwise, f and f' in the backend.
Variable elementwise(const char* name, Unary op, const Variable& x, double alpha = 0) {
  check_floating(name, x.value());
  const Tensor in = x.value().contiguous();
  Tensor y = in.backend().unary(op, in, alpha);
  return record(
      name, y, {x},
      [op, alpha, in = Saved(in), out = Saved(y)](const Tensor& dy) -> std::vector<Tensor> {
        return {dy.backend().unary_backward(op, in.get(), out.get(), dy.contiguous(), alpha)};
      });
}

// The larger (or smaller) of a and b: the gradient goes to the one chosen, to a if equal.
Variable choose(const char* name, Binary op, Compare chosen, const Variable& a, const Variable& b) {
  check_pair(name, a, b);
  const Tensor& va = a.value();
  const Tensor& vb = b.value();
  return record(name, binary(op, va, vb), {a, b},
                [chosen, sa = Saved(va), sb = Saved(vb)](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor mask = dy.backend().compare(chosen, sa.get(), sb.get());
                  const Tensor zero = Tensor::zeros({}, dy.dtype(), dy.device()).expand(dy.shape());
                  return {sum_to(dy.backend().where(mask, dy, zero), sa.get().shape()),
                          sum_to(dy.backend().where(mask, zero, dy), sb.get().shape())};
                });
}

}  // namespace

// d(a + b) = da + db
Variable operator+(const Variable& a, const Variable& b) {
  check_pair("add", a, b);
  return record("add", binary(Binary::add, a.value(), b.value()), {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& dy) -> std::vector<Tensor> {
                  return {sum_to(dy, sa), sum_to(dy, sb)};
                });
}

// d(a - b) = da - db
Variable operator-(const Variable& a, const Variable& b) {
  check_pair("subtract", a, b);
  return record("subtract", binary(Binary::sub, a.value(), b.value()), {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& dy) -> std::vector<Tensor> {
                  return {sum_to(dy, sa), scaled(sum_to(dy, sb), -1)};
                });
}

// d(a b) = b da + a db
Variable operator*(const Variable& a, const Variable& b) {
  check_pair("multiply", a, b);
  const bool da = a.requires_grad(), db = b.requires_grad();
  return record("multiply", binary(Binary::mul, a.value(), b.value()), {a, b},
                [da, db, to_a = a.shape(), to_b = b.shape(), sa = db ? Saved(a) : Saved(),
                 sb = da ? Saved(b) : Saved()](const Tensor& dy) -> std::vector<Tensor> {
                  return {da ? sum_to(binary(Binary::mul, dy, sb.get()), to_a) : Tensor(),
                          db ? sum_to(binary(Binary::mul, dy, sa.get()), to_b) : Tensor()};
                });
}

// d(a / b) = da / b - (a / b) db / b
Variable operator/(const Variable& a, const Variable& b) {
  check_pair("divide", a, b);
  Tensor y = binary(Binary::div, a.value(), b.value());
  const bool db = b.requires_grad();
  return record(
      "divide", y, {a, b},
      [db, sa = a.shape(), sb = Saved(b), sy = Saved(y)](const Tensor& dy) -> std::vector<Tensor> {
        const Tensor g = binary(Binary::div, dy, sb.get());
        return {
            sum_to(g, sa),
            db ? scaled(sum_to(binary(Binary::mul, g, sy.get()), sb.get().shape()), -1) : Tensor()};
      });
}

Variable operator+(const Variable& a, double b) {
  return elementwise("add", Unary::add_scalar, a, b);
}
Variable operator-(const Variable& a, double b) {
  return a + -b;
}
Variable operator*(const Variable& a, double b) {
  return elementwise("multiply", Unary::mul_scalar, a, b);
}
Variable operator/(const Variable& a, double b) {
  return a * (1 / b);
}
Variable operator-(const Variable& a) {
  return elementwise("negate", Unary::neg, a);
}

Variable maximum(const Variable& a, const Variable& b) {
  return choose("maximum", Binary::maximum, Compare::ge, a, b);
}
Variable minimum(const Variable& a, const Variable& b) {
  return choose("minimum", Binary::minimum, Compare::le, a, b);
}

Variable where(const Tensor& condition, const Variable& a, const Variable& b) {
  check_pair("where", a, b);
  check(condition.dtype() == DType::u8, "where: the condition must be u8, got {}",
        name_of(condition.dtype()));
  const Shape shape = broadcast(condition.shape(), broadcast(a.shape(), b.shape()));
  const Tensor mask = condition.expand(shape);
  return record("where", a.backend().where(mask, a.value().expand(shape), b.value().expand(shape)),
                {a, b},
                [mask = Saved(mask), sa = a.shape(),
                 sb = b.shape()](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor zero = Tensor::zeros({}, dy.dtype(), dy.device()).expand(dy.shape());
                  return {sum_to(dy.backend().where(mask.get(), dy, zero), sa),
                          sum_to(dy.backend().where(mask.get(), zero, dy), sb)};
                });
}

Variable exp(const Variable& x) {
  return elementwise("exp", Unary::exp, x);
}
Variable log(const Variable& x) {
  return elementwise("log", Unary::log, x);
}
Variable sqrt(const Variable& x) {
  return elementwise("sqrt", Unary::sqrt, x);
}
Variable rsqrt(const Variable& x) {
  return elementwise("rsqrt", Unary::rsqrt, x);
}
Variable square(const Variable& x) {
  return elementwise("square", Unary::square, x);
}
Variable abs(const Variable& x) {
  return elementwise("abs", Unary::abs, x);
}
Variable pow(const Variable& x, double e) {
  return elementwise("pow", Unary::pow, x, e);
}
Variable clamp_min(const Variable& x, double lowest) {
  return elementwise("clamp_min", Unary::clamp_min, x, lowest);
}

namespace {
Tensor compared(Compare op, const Tensor& a, const Tensor& b) {
  check_same("compare", a, b);
  broadcast(a.shape(), b.shape());
  return a.backend().compare(op, a, b);
}
}  // namespace

Tensor equal(const Tensor& a, const Tensor& b) {
  return compared(Compare::eq, a, b);
}
Tensor less(const Tensor& a, const Tensor& b) {
  return compared(Compare::lt, a, b);
}
Tensor greater(const Tensor& a, const Tensor& b) {
  return compared(Compare::gt, a, b);
}

}  // namespace nextgrad
