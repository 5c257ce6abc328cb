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

// y = f(x), dx = dy f'(x): keeps the one of x and y that the slope is computed from (x through the
// caller's handle, so that what can be made again is). `name` is for messages.
Variable elementwise(const char* name, Unary op, const Variable& x, double alpha = 0) {
  check_floating(name, x.value());
  const Tensor in = x.value().contiguous();
  const Tensor y = in.backend().unary(op, in, alpha);
  const Reads reads = facts_of(op).gradient_reads;
  const Saved kept = reads == Reads::x ? Saved(x, in) : reads == Reads::y ? Saved(y) : Saved();
  const Remake remake = [=] { return kept.get().backend().unary(op, kept.get(), alpha); };
  return record(
      name, y, {x},
      [=](const Tensor& dy) -> std::vector<Tensor> {
        return {dy.backend().unary_backward(op, kept.get(), dy.contiguous(), alpha)};
      },
      reads == Reads::x ? remake : nullptr);
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

// d(a b) = b da + a db, of equal shapes in one pass
Variable operator*(const Variable& a, const Variable& b) {
  check_pair("multiply", a, b);
  const bool da = a.requires_grad(), db = b.requires_grad();
  return record("multiply", binary(Binary::mul, a.value(), b.value()), {a, b},
                [da, db, to_a = a.shape(), to_b = b.shape(), sa = db ? Saved(a) : Saved(),
                 sb = da ? Saved(b) : Saved()](const Tensor& dy) -> std::vector<Tensor> {
                  if (da && db && to_a == to_b) {
                    auto [ga, gb] = dy.backend().gate_backward(
                        sa.get().contiguous(), sb.get().contiguous(), dy.contiguous());
                    return {ga, gb};
                  }
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
Variable clamp_min(const Variable& x, double lowest) {
  return elementwise("clamp_min", Unary::clamp_min, x, lowest);
}

Variable relu(const Variable& x) {
  return elementwise("relu", Unary::relu, x);
}
Variable gelu(const Variable& x) {
  return elementwise("gelu", Unary::gelu, x);
}
Variable sigmoid(const Variable& x) {
  return elementwise("sigmoid", Unary::sigmoid, x);
}
Variable silu(const Variable& x) {
  return elementwise("silu", Unary::silu, x);
}
Variable hardswish(const Variable& x) {
  return elementwise("hardswish", Unary::hardswish, x);
}
Variable tanh(const Variable& x) {
  return elementwise("tanh", Unary::tanh, x);
}

}  // namespace nextgrad
