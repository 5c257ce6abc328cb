#include "autograd/matmul.h"

#include "autograd/checks.h"

namespace nextgrad {

namespace {

// [M,K] as a batch of one; batches stay.
Tensor batched(const Tensor& x) {
  return (x.ndim() == 2 ? x.unsqueeze(0) : x).contiguous();
}

// The gradient of an input that was broadcast over the batch is summed over it.
Tensor like(const Tensor& g, const Shape& shape) {
  if (shape.size() == 2) return sum_to(g, {1, g.dim(1), g.dim(2)}).reshape(shape);
  return sum_to(g, shape);
}

void check_linear(const char* op, const Variable& x, const Variable& weight, const Variable& bias) {
  check_floating(op, x.value());
  check_parameter(op, x.value(), weight.value());
  check(x.ndim() >= 1 && weight.ndim() == 2 && x.dim(-1) == weight.dim(1),
        "{}: input {} does not fit weight {}", op, x.shape().str(), weight.shape().str());
  check_vector(op, "bias", x.value(), bias, weight.dim(0));
}

}  // namespace

// C = A B: dA = dC B^T, dB = A^T dC; with transposed inputs the products change places.
Variable matmul(const Variable& a, const Variable& b, bool ta, bool tb) {
  check_floating("matmul", a.value());
  check_same("matmul", a.value(), b.value());
  const auto wrong = [&] {
    fail("matmul: {}{} and {}{} do not fit", a.shape().str(), ta ? "^T" : "", b.shape().str(),
         tb ? "^T" : "");
  };
  if (a.ndim() < 2 || a.ndim() > 3 || b.ndim() < 2 || b.ndim() > 3) wrong();
  const Tensor x = batched(a.value()), y = batched(b.value());
  if (x.dim(ta ? 1 : 2) != y.dim(tb ? 2 : 1)) wrong();
  if (x.dim(0) != y.dim(0) && x.dim(0) != 1 && y.dim(0) != 1) wrong();
  Tensor c = x.backend().matmul(x, y, ta, tb);
  const Shape result = c.shape();
  if (a.ndim() == 2 && b.ndim() == 2) c = c.squeeze(0);
  const bool da = a.requires_grad(), db = b.requires_grad();
  return record("matmul", c, {a, b},
                [=, sa = a.shape(), sb = b.shape(), x = Saved(x),
                 y = Saved(y)](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor g = dy.reshape(result);
                  Backend& backend = g.backend();
                  std::vector<Tensor> gradients(2);
                  if (da)
                    gradients[0] = like(ta ? backend.matmul(y.get(), g, tb, true)
                                           : backend.matmul(g, y.get(), false, !tb),
                                        sa);
                  if (db)
                    gradients[1] = like(tb ? backend.matmul(g, x.get(), true, ta)
                                           : backend.matmul(x.get(), g, !ta, false),
                                        sb);
                  return gradients;
                });
}

// y = f(z), z = x W^T + b: dz = dy f'(z), dx = dz W, dW = dz^T x, db = column sums of dz
Variable linear(const Variable& x, const Variable& weight, const Variable& bias,
                Activation activation) {
  check_linear("linear", x, weight, bias);
  const std::int64_t in = weight.dim(1), out = weight.dim(0);
  Shape shape = x.shape();
  shape[x.ndim() - 1] = out;
  const std::int64_t rows =
      in > 0 ? x.value().numel() / in : shape.numel() / std::max<std::int64_t>(1, out);
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
  const auto remake = [=] {
    return kept.get().backend().unary(Unary::gelu, kept.get(), 0).reshape(shape);
  };
  return record(
      "linear", y.reshape(shape), {x, weight, bias},
      [=, from = x.shape(), sx = needs.dweight ? Saved(x, rows_in) : Saved(),
       sw = Saved(w)](const Tensor& dy) -> std::vector<Tensor> {
        Tensor g = dy.reshape({rows, out});
        if (activation != Activation::none)
          g = g.backend().unary_backward(gelu ? Unary::gelu : Unary::relu, kept.get(), g, 0);
        const Tensor in_rows = needs.dweight ? sx.get().reshape({rows, in}) : Tensor();
        ConvGradients d = g.backend().linear_backward(in_rows, sw.get(), g, needs);
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
                         const Tensor& mask) {
  const Shape& shape = base.shape();
  check_linear("linear_residual", x, weight, bias);
  check(x.ndim() >= 2, "linear_residual: input {} has no rows", x.shape().str());
  check_same("linear_residual", x.value(), base.value());
  Shape out = x.shape();
  out[x.ndim() - 1] = weight.dim(0);
  check(shape == out, "linear_residual: base {} is not the output's {}", shape.str(), out.str());
  check_vector("linear_residual", "scale", x.value(), scale, weight.dim(0));
  check_mask("linear_residual", x.value(), mask);
  Backend& backend = x.backend();
  const Tensor w = weight.value().contiguous(), b = value_or_none(bias);
  const Tensor s = value_or_none(scale);
  const Tensor rows = s.defined() ? s.unsqueeze(1) : s;
  const Tensor v = s.defined() ? backend.binary(Binary::mul, w, rows) : w;
  const Tensor c = s.defined() && b.defined() ? backend.binary(Binary::mul, b, s) : b;
  const Tensor in = x.value().contiguous();
  const bool ds = scale.requires_grad();
  const Needs needs{x.requires_grad(), weight.requires_grad() || ds, bias.requires_grad() || ds};
  return record(
      "linear_residual", backend.linear_residual(base.value().contiguous(), in, v, c, input, mask),
      {base, x, weight, bias, scale},
      [=, in = Saved(x, in), w = Saved(w), b = Saved(b), s = Saved(s), v = Saved(v),
       mask = Saved(mask)](const Tensor& dy) -> std::vector<Tensor> {
        Backend& backend = dy.backend();
        const Tensor g = dy.contiguous();
        ConvGradients d =
            backend.linear_residual_backward(in.get(), v.get(), input, mask.get(), g, needs);
        if (!s.get().defined()) return {g, d.dx, d.dweight, d.dbias, Tensor()};
        Tensor dscale;
        if (ds) {
          dscale = backend.reduce(Reduce::sum, backend.binary(Binary::mul, w.get(), d.dweight), {1})
                       .reshape({w.get().dim(0)});
          if (b.get().defined())
            backend.axpy(dscale, backend.binary(Binary::mul, b.get(), d.dbias), 1);
        }
        const Tensor rows = s.get().unsqueeze(1);
        if (d.dweight.defined()) d.dweight = backend.binary(Binary::mul, d.dweight, rows);
        if (d.dbias.defined()) d.dbias = backend.binary(Binary::mul, d.dbias, s.get());
        return {g, d.dx, d.dweight, d.dbias, dscale};
      });
}

}  // namespace nextgrad
