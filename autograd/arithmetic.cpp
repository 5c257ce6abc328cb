#include "autograd/arithmetic.h"

#include "autograd/checks.h"
#include "autograd/fuse.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

// d(a + b) = da + db
Variable add(const Variable& a, const Variable& b) {
  return record("add", a.value() + b.value(), {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& dy) -> std::vector<Tensor> {
                  return {sum_to(dy, sa), sum_to(dy, sb)};
                });
}

// d(a - b) = da - db
Variable subtract(const Variable& a, const Variable& b) {
  return record("subtract", a.value() - b.value(), {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& dy) -> std::vector<Tensor> {
                  return {sum_to(dy, sa), -sum_to(dy, sb)};
                });
}

// d(a b) = b da + a db, of equal shapes in one pass
Variable multiply(const Variable& a, const Variable& b) {
  const bool da = a.requires_grad(), db = b.requires_grad();
  return record("multiply", a.value() * b.value(), {a, b},
                [da, db, to_a = a.shape(), to_b = b.shape(), sa = db ? Saved(a) : Saved(),
                 sb = da ? Saved(b) : Saved()](const Tensor& dy) -> std::vector<Tensor> {
                  if (da && db && to_a == to_b) {
                    auto [ga, gb] = dy.backend().gate_backward(
                        sa.get().contiguous(), sb.get().contiguous(), dy.contiguous());
                    return {ga, gb};
                  }
                  return {da ? sum_to(dy * sb.get(), to_a) : Tensor(),
                          db ? sum_to(dy * sa.get(), to_b) : Tensor()};
                });
}

// d(a / b) = da / b - (a / b) db / b
Variable divide(const Variable& a, const Variable& b) {
  const Tensor y = a.value() / b.value();
  return record("divide", y, {a, b},
                [db = b.requires_grad(), sa = a.shape(), sb = Saved(b),
                 y = Saved(y)](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor g = dy / sb.get();
                  return {sum_to(g, sa), db ? -sum_to(g * y.get(), sb.get().shape()) : Tensor()};
                });
}

Variable activated(Variable x, Activation f) {
  check_floating(facts_of(unary_of(f)).name, x);
  const Shape shape = x.shape();
  return uncooked(ActivateRecipe{std::move(x), f}, shape);
}

// Whether v is a vector over the last axis of x, of the dtype of parameters.
bool scales(const Variable& v, const Variable& x) {
  return v.ndim() == 1 && x.ndim() >= 2 && v.dim(0) == x.dim(-1) && is_floating(x.dtype()) &&
         v.dtype() == parameter_dtype(x.dtype()) && v.device() == x.device();
}

}  // namespace

Variable elementwise(Binary op, const Variable& a, const Variable& b) {
  check_floating(name_of(op), a);
  check_same(name_of(op), a, b);
  switch (op) {
    case Binary::add:
      return add(a, b);
    case Binary::sub:
      return subtract(a, b);
    case Binary::mul:
      return multiply(a, b);
    case Binary::div:
      return divide(a, b);
  }
  fail("no such op");
}

// y = f(x), dx = dy f'(x): keeps the one of x and y that the slope is computed from (x through the
// caller's handle, so that what can be made again is).
Variable elementwise(Unary op, const Variable& x, double alpha) {
  const UnaryFacts facts = facts_of(op);
  check_floating(facts.name, x);
  const Tensor in = x.value().contiguous();
  const Tensor y = apply(op, in, alpha);
  const Reads reads = facts.gradient_reads;
  const Saved kept = reads == Reads::x ? Saved(x, in) : reads == Reads::y ? Saved(y) : Saved();
  const Remake remake = [=] { return apply(op, kept.get(), alpha); };
  return record(
      facts.name, y, {x},
      [=](const Tensor& dy) -> std::vector<Tensor> {
        return {slope_times(op, kept.get(), dy, alpha)};
      },
      reads == Reads::x ? remake : nullptr);
}

Variable operator+(Variable a, Variable b) {
  check_floating("add", a);
  check_same("add", a, b);
  const Shape shape = broadcast(a.shape(), b.shape(), "add");
  if (shape.size() < 2 || !(a.shape() == b.shape())) return add(a, b);
  return uncooked(SumRecipe{std::move(a), std::move(b)}, shape);
}

Variable operator*(Variable a, Variable b) {
  check_floating("mul", a);
  check(b.defined(), "mul: an input is undefined");
  if (const Shape same = a.shape(); same.size() >= 2 && same == b.shape()) {
    check_same("mul", a, b);
    return uncooked(GateRecipe{std::move(a), std::move(b)}, same);
  }
  if (!scales(b, a)) std::swap(a, b);
  if (!scales(b, a)) return elementwise(Binary::mul, b, a);
  const Shape shape = a.shape();
  return uncooked(ScaleRecipe{std::move(a), std::move(b), {}}, shape);
}

Variable relu(Variable x) {
  return activated(std::move(x), Activation::relu);
}
Variable gelu(Variable x) {
  return activated(std::move(x), Activation::gelu);
}

}  // namespace nextgrad
