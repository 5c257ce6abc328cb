#include "autograd/matmul.h"

#include "autograd/checks.h"
#include "autograd/fuse.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

// [..., I] and [O, I] to [..., O].
Shape check_linear(const char* op, const Variable& x, const Variable& weight,
                   const Variable& bias) {
  check_floating(op, x);
  check_parameter(op, x, weight);
  check(x.ndim() >= 1 && weight.ndim() == 2 && x.dim(-1) == weight.dim(1),
        "{}: input {} does not fit weight {}", op, x.shape().str(), weight.shape().str());
  check_vector(op, "bias", x, bias, weight.dim(0));
  Shape out = x.shape();
  out[x.ndim() - 1] = weight.dim(0);
  return out;
}

}  // namespace

// C = A B: dA = dC B^T, dB = A^T dC; with transposed inputs the products change places. An input
// that was broadcast over the batch gets the sum.
Variable matmul(const Variable& a, const Variable& b, bool ta, bool tb) {
  check_floating("matmul", a);
  check_same("matmul", a, b);
  const Tensor c = matmul(a.value(), b.value(), ta, tb);
  return record("matmul", c, {a, b},
                [=, da = a.requires_grad(), db = b.requires_grad(), sa = a.shape(), sb = b.shape(),
                 a = Saved(a), b = Saved(b)](const Tensor& g) -> std::vector<Tensor> {
                  const Tensor &x = a.get(), &y = b.get();
                  Tensor dx, dy;
                  if (da) dx = sum_to(ta ? matmul(y, g, tb, true) : matmul(g, y, false, !tb), sa);
                  if (db) dy = sum_to(tb ? matmul(g, x, true, ta) : matmul(x, g, !ta, false), sb);
                  return {dx, dy};
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
        if (activation != Activation::none)
          g = slope_times(gelu ? Unary::gelu : Unary::relu, kept.get(), g);
        ConvGradients d = g.backend().linear_backward(sx.get(), sw.get(), g, needs);
        return {d.dx.defined() ? d.dx.reshape(from) : d.dx, d.dweight, d.dbias};
      },
      gelu ? Remake(remake) : nullptr);
}

// y = base + m s (f(x) W^T + b) = base + m (f(x) V^T + c) with V = s W, c = s b, row by row:
// dV = (m dy)^T f(x), dc = sum m dy, dx = m dy V f'(x), dbase = dy; dW = s dV, db = s dc, and, as
// the branch is linear in V and c, ds = sum over inputs of W dV + b dc: the branch itself is never
// needed.
Variable linear_residual(const Variable& base, const Variable& x, const Variable& weight,
                         const Variable& bias, Activation input, const Variable& scale,
                         const Tensor& mask, Tensor* moments) {
  const Shape out = check_linear("linear_residual", x, weight, bias);
  check(x.ndim() >= 2, "linear_residual: input {} has no rows", x.shape().str());
  check_same("linear_residual", x, base);
  check(base.shape() == out, "linear_residual: base {} is not the output's {}", base.shape().str(),
        out.str());
  check_vector("linear_residual", "scale", x, scale, weight.dim(0));
  check_mask("linear_residual", x, mask);
  const Tensor w = weight.value().contiguous(), b = value_or_none(bias);
  const Tensor s = value_or_none(scale), in = x.value().contiguous();
  const Tensor v = s.defined() ? w * s.unsqueeze(1) : w;
  const Tensor c = s.defined() && b.defined() ? b * s : b;
  const bool ds = scale.requires_grad();
  const Needs needs{x.requires_grad(), weight.requires_grad() || ds, bias.requires_grad() || ds};
  return record(
      "linear_residual",
      in.backend().linear_residual(base.value().contiguous(), in, v, c, input, mask, moments),
      {base, x, weight, bias, scale},
      [=, in = Saved(x, in), w = Saved(w), b = Saved(b), s = Saved(s), v = Saved(v),
       mask = Saved(mask)](const Tensor& dy) -> std::vector<Tensor> {
        const Tensor g = dy.contiguous();
        const auto [dx, dv, dc] =
            g.backend().linear_residual_backward(in.get(), v.get(), input, mask.get(), g, needs);
        if (!s.get().defined()) return {g, dx, dv, dc, Tensor()};
        Tensor dscale;
        if (ds) dscale = sum(w.get() * dv, {1}).reshape(s.get().shape());
        if (ds && b.get().defined()) dscale = dscale + b.get() * dc;
        return {g, dx, dv.defined() ? dv * s.get().unsqueeze(1) : dv,
                dc.defined() ? dc * s.get() : dc, dscale};
      });
}

}  // namespace nextgrad
