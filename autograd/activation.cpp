#include "autograd/activation.h"

#include "autograd/checks.h"

namespace nextgrad {

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
