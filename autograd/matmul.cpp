#include "autograd/matmul.h"

#include "autograd/checks.h"
#include "autograd/fuse.h"
#include "tensor/ops.h"

namespace nextgrad {

// C = A B: dA = dC B^T, dB = A^T dC; with transposed inputs the products change places. An input
// that was broadcast over the batch gets the sum.
Variable matmul(const Variable& a, const Variable& b, bool ta, bool tb) {
  check_floating("matmul", a);
  check_same("matmul", a, b);
  const Tensor x = a.value().contiguous(), y = b.value().contiguous();
  const bool da = a.requires_grad(), db = b.requires_grad();
  return record(
      "matmul", matmul(x, y, ta, tb), {a, b},
      [ta, tb, da, db, from_a = a.shape(), from_b = b.shape(), sx = db ? Saved(x) : Saved(),
       sy = da ? Saved(y) : Saved()](const Tensor& g) -> std::vector<Tensor> {
        const Tensor &x = sx.get(), &y = sy.get();
        Tensor dx, dy;
        if (da) dx = ta ? matmul(y, g, tb, true) : matmul(g, y, false, !tb);
        if (db) dy = tb ? matmul(g, x, true, ta) : matmul(x, g, !ta, false);
        return {da ? sum_to(dx, from_a) : dx, db ? sum_to(dy, from_b) : dy};
      });
}

Variable linear(Variable x, const Variable& weight, const Variable& bias) {
  const Shape shape = check_linear("linear", x, weight, bias);
  return uncooked(LinearRecipe{std::move(x), weight, bias}, shape);
}

// y = f(z), z = x W^T + b: dz = dy f'(z), dx = dz W, dW = dz^T x, db = column sums of dz
Variable linear(const Variable& x, const Variable& weight, const Variable& bias,
                Activation activation) {
  const Shape shape = check_linear("linear", x, weight, bias);
  const std::int64_t in = weight.dim(1), out = weight.dim(0);
  const std::int64_t rows =
      in > 0 ? x.numel() / in : shape.numel() / std::max<std::int64_t>(1, out);
  const Tensor rows_in = x.value().reshape({rows, in}), w = weight.value().contiguous();
  const bool records =
      grad_enabled() && (x.requires_grad() || weight.requires_grad() || bias.requires_grad());
  const bool gelu = activation == Activation::gelu;
  Tensor z;
  Tensor y = x.backend().linear(rows_in, w, value_or_none(bias), activation,
                                records && gelu ? &z : nullptr);
  const Needs needs{x.requires_grad(), weight.requires_grad(), bias.requires_grad()};
  // GELU's slope is a function of z, from which y is made again; ReLU's is known from y.
  const Saved kept(activation == Activation::relu ? y : z);
  const auto remake = [=] { return apply(Unary::gelu, kept.get()).reshape(shape); };
  return record(
      "linear", y.reshape(shape), {x, weight, bias},
      [=, from = x.shape(), sx = needs.dweight ? Saved(x, rows_in) : Saved(),
       sw = Saved(w)](const Tensor& dy) -> std::vector<Tensor> {
        Tensor g = dy.reshape({rows, out});
        if (activation != Activation::none) g = slope_times(unary_of(activation), kept.get(), g);
        Tensor onto = needs.dx ? take_arrived(0) : Tensor();
        if (onto.defined()) onto = onto.reshape({rows, in});
        ConvGradients d = g.backend().linear_backward(sx.get(), sw.get(), g, needs, onto);
        return {d.dx.defined() ? d.dx.reshape(from) : d.dx, d.dweight, d.dbias};
      },
      gelu ? Remake(remake) : nullptr);
}

}  // namespace nextgrad
