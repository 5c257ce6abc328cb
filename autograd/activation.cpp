#include "autograd/activation.h"

#include "autograd/checks.h"

namespace nextgrad {

namespace {

// y = f(x), dx = dy f'(x)
Variable activation(const char* name, Unary op, const Variable& x) {
  check_floating(name, x.value());
  const Tensor in = x.value().contiguous();
  Tensor y = in.backend().unary(op, in, 0);
  // ReLU, sigmoid and tanh know their slope from y, the others from x: only that one is kept.
  const bool from_y = op == Unary::relu || op == Unary::sigmoid || op == Unary::tanh;
  const Saved kept = from_y ? Saved(y) : Saved(x, in);
  const Remake remake = [op, kept] { return kept.get().backend().unary(op, kept.get(), 0); };
  return record(
      name, y, {x},
      [op, kept](const Tensor& dy) -> std::vector<Tensor> {
        return {dy.backend().unary_backward(op, kept.get(), kept.get(), dy.contiguous(), 0)};
      },
      from_y ? nullptr : remake);
}

}  // namespace

// max(x, 0)
Variable relu(const Variable& x) {
  return activation("relu", Unary::relu, x);
}
// x Phi(x); slope Phi(x) + x phi(x)
Variable gelu(const Variable& x) {
  return activation("gelu", Unary::gelu, x);
}
// s = 1 / (1 + exp(-x)); slope s (1 - s)
Variable sigmoid(const Variable& x) {
  return activation("sigmoid", Unary::sigmoid, x);
}
// x s(x); slope s + x s (1 - s)
Variable silu(const Variable& x) {
  return activation("silu", Unary::silu, x);
}
// x clamp(x + 3, 0, 6) / 6
Variable hardswish(const Variable& x) {
  return activation("hardswish", Unary::hardswish, x);
}
// slope 1 - y^2
Variable tanh(const Variable& x) {
  return activation("tanh", Unary::tanh, x);
}

}  // namespace nextgrad
