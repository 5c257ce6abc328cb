#include "autograd/fused.h"

#include "autograd/arithmetic.h"
#include "autograd/checks.h"
#include "autograd/fuse.h"
#include "autograd/matmul.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

void check_strip(const Variable& x, const StripVariables& s) {
  check_parameter("strips", x, s.row);
  check_parameter("strips", x, s.column);
  const std::int64_t c = x.dim(3), k = s.row.ndim() == 3 ? s.row.dim(1) : 0;
  check(k % 2 == 1 && s.row.shape() == Shape{1, k, c} && s.column.shape() == Shape{k, 1, c},
        "strips: row {} and column {} do not fit the input {} (want [1,k,C] and [k,1,C], k odd)",
        s.row.shape(), s.column.shape(), x.shape());
  check_vector("strips", "row bias", x, s.row_bias, c);
  check_vector("strips", "column bias", x, s.column_bias, c);
}

}  // namespace

// y = x + m s b: dx = dy, db = m s dy, ds = sum over pixels of m b dy
Variable residual(const Variable& x, const Variable& branch, const Variable& scale,
                  const Tensor& mask, Tensor* moments) {
  check_floating("residual", x);
  check_same("residual", x, branch);
  check(x.shape() == branch.shape(), "residual: {} and {} differ", x.shape(), branch.shape());
  check_vector("residual", "scale", x, scale, x.dim(-1));
  check_mask("residual", x, mask);
  const Tensor b = branch.value().contiguous(), s = value_or_none(scale);
  const bool ds = scale.requires_grad();
  return record("residual", x.backend().residual(x.value().contiguous(), b, s, mask, moments),
                {x, branch, scale},
                [ds, b = ds ? Saved(branch, b) : Saved(), s = Saved(s),
                 mask = Saved(mask)](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor g = dy.contiguous();
                  auto d = g.backend().residual_backward(b.get(), s.get(), mask.get(), g, ds);
                  return {g, d.dbranch, d.ds};
                });
}

Variable scale_images(Variable x, const Tensor& mask) {
  check_floating("scale_images", x);
  check(x.ndim() >= 1 && mask.defined(), "scale_images: wants images and a mask");
  check_mask("scale_images", x, mask);
  const Shape shape = x.shape();
  return uncooked(ScaleRecipe{std::move(x), {}, Saved(mask)}, shape);
}

Variable apply_mask(const Variable& x, const Tensor& mask) {
  return x * Variable(mask.to(x.dtype()));
}

// y = base + m s (f(x) W^T + b + e) = base + m (f(x) V^T + c + s e) with V = s W, c = s b, row by
// row: dV = (m dy)^T f(x), dc = sum m dy, dx = m dy V f'(x), dbase = dy, de = m s dy; dW = s dV,
// db = s dc, and, as the branch is linear in V, c and e, ds = sum over inputs of W dV + b dc + sum
// m dy e: the branch itself is never needed.
Variable linear_residual(const Variable& base, const Variable& x, const Variable& weight,
                         const Variable& bias, Activation input, const Variable& scale,
                         const Tensor& mask, Tensor* moments, const Variable& extra) {
  const Shape out = check_linear("linear_residual", x, weight, bias);
  check(x.ndim() >= 2, "linear_residual: input {} has no rows", x.shape());
  const auto check_output = [&](const char* what, const Variable& v) {
    check_same("linear_residual", x, v);
    check(v.shape() == out, "linear_residual: {} {} is not the output's {}", what, v.shape(), out);
  };
  check_output("base", base);
  if (extra.defined()) check_output("extra", extra);
  check_vector("linear_residual", "scale", x, scale, weight.dim(0));
  check_mask("linear_residual", x, mask);
  const LinearBranch b{
      weight.value().contiguous(), value_or_none(bias), input, value_or_none(scale), mask,
      value_or_none(extra)};
  const Tensor in = x.value().contiguous();
  const bool needs_ds = scale.requires_grad();
  const Needs needs{x.requires_grad(), weight.requires_grad(), bias.requires_grad()};
  return record(
      "linear_residual", in.backend().linear_residual(base.value().contiguous(), in, b, moments),
      {base, x, weight, bias, scale, extra},
      [=, in = Saved(x, in), w = Saved(b.weight), c = Saved(b.bias), s = Saved(b.s),
       mask = Saved(mask), e = needs_ds && extra.defined() ? Saved(extra, b.extra) : Saved(),
       has_extra = extra.defined()](const Tensor& dy) -> std::vector<Tensor> {
        const Tensor g = dy.contiguous();
        const LinearBranch b{w.get(), c.get(),    input,
                             s.get(), mask.get(), !has_extra ? Tensor() : needs_ds ? e.get() : g};
        const LinearResidualGradients d =
            g.backend().linear_residual_backward(in.get(), b, g, needs, needs_ds);
        return {g, d.dx, d.dweight, d.dbias, d.ds, d.dextra};
      });
}

// y = x + sum_i c_i * r_i, r_i = w_i * x + b_i (0 outside the image); with g_i = c_i' * dy, where '
// turns the taps round, dx = dy + sum_i w_i' * g_i, dc_i = <dy, r_i>, dw_i = <g_i, x>, and the
// biases' gradients are the sums of g_i and dy. r_i and g_i are computed again where needed.
Variable strips(const Variable& x, const std::vector<StripVariables>& strips) {
  check_floating("strips", x);
  check(x.ndim() == 4, "strips: wants input [N,H,W,C], got {}", x.shape());
  const Tensor in = x.value().contiguous();
  std::vector<Variable> inputs = {x};
  std::vector<Strip> values;
  std::vector<Saved> saved = {Saved(x, in)};
  for (const StripVariables& s : strips) {
    check_strip(x, s);
    values.push_back({s.row.value().contiguous(), value_or_none(s.row_bias),
                      s.column.value().contiguous(), value_or_none(s.column_bias)});
    inputs.insert(inputs.end(), {s.row, s.row_bias, s.column, s.column_bias});
    const Strip& v = values.back();
    for (const Tensor& t : {v.row, v.row_bias, v.column, v.column_bias}) saved.emplace_back(t);
  }
  return record("strips", x.backend().strips(in, values), inputs,
                [saved = std::move(saved)](const Tensor& dy) -> std::vector<Tensor> {
                  std::vector<Strip> values;
                  for (std::size_t i = 1; i < saved.size(); i += 4)
                    values.push_back({saved[i].get(), saved[i + 1].get(), saved[i + 2].get(),
                                      saved[i + 3].get()});
                  const StripsGradients d =
                      dy.backend().strips_backward(saved[0].get(), values, dy.contiguous());
                  std::vector<Tensor> all = {d.dx};
                  for (const Strip& s : d.dstrips)
                    all.insert(all.end(), {s.row, s.row_bias, s.column, s.column_bias});
                  return all;
                });
}

namespace {

void check_feed_forward(const Variable& base, const Variable& x, const FeedForwardVariables& f,
                        const Variable& scale, const Tensor& mask) {
  check_floating("feed_forward", x);
  check_same("feed_forward", x, base);
  check(x.ndim() == 4 && f.expand.ndim() == 2 && f.expand.dim(1) == x.dim(3),
        "feed_forward: input {} does not fit the first weight {}", x.shape(), f.expand.shape());
  for (const Variable& w : {f.expand, f.taps, f.contract}) check_parameter("feed_forward", x, w);
  const std::int64_t hidden = f.expand.dim(0), out = f.contract.dim(0);
  check(f.taps.shape() == Shape{3, 3, hidden} && f.contract.shape() == Shape{out, hidden},
        "feed_forward: taps {} and second weight {} do not fit {} hidden channels", f.taps.shape(),
        f.contract.shape(), hidden);
  check(base.shape() == Shape{x.dim(0), x.dim(1), x.dim(2), out},
        "feed_forward: base {} is not the output's shape", base.shape());
  check_vector("feed_forward", "expand_bias", x, f.expand_bias, hidden);
  check_vector("feed_forward", "taps_bias", x, f.taps_bias, hidden);
  check_vector("feed_forward", "contract_bias", x, f.contract_bias, out);
  check_vector("feed_forward", "scale", x, scale, out);
  check_mask("feed_forward", x, mask);
}

}  // namespace

// y = base + m s (W2 gelu(taps * (W1 x + b1) + tap_bias) + b2); s is multiplied into W2 and b2, and
// m into dy.
Variable feed_forward(const Variable& base, const Variable& x, const FeedForwardVariables& f,
                      const Variable& scale, const Tensor& mask) {
  check_feed_forward(base, x, f, scale, mask);
  const Tensor in = x.value().contiguous(), w2 = f.contract.value().contiguous();
  const Tensor b2 = value_or_none(f.contract_bias), s = value_or_none(scale);
  const auto [v2, c2] = scale_rows(w2, b2, s);
  const FeedForwardWeights w{f.expand.value().contiguous(),
                             value_or_none(f.expand_bias),
                             f.taps.value().contiguous(),
                             value_or_none(f.taps_bias),
                             v2,
                             c2};
  const Tensor y = in.backend().feed_forward(base.value().contiguous(), in, w, mask);
  const FeedForwardOf<Saved> kept{Saved(w.expand),    Saved(w.expand_bias), Saved(w.taps),
                                  Saved(w.taps_bias), Saved(w.contract),    Saved(w.contract_bias)};
  return record(
      "feed_forward", y,
      {base, x, f.expand, f.expand_bias, f.taps, f.taps_bias, f.contract, f.contract_bias, scale},
      [=, in = Saved(x, in), w2 = Saved(w2), b2 = Saved(b2), s = Saved(s), mask = Saved(mask),
       ds = scale.requires_grad()](const Tensor& dy) -> std::vector<Tensor> {
        const Tensor g = dy.contiguous(), m = mask.get();
        const FeedForwardWeights w{kept.expand.get(),   kept.expand_bias.get(),
                                   kept.taps.get(),     kept.taps_bias.get(),
                                   kept.contract.get(), kept.contract_bias.get()};
        const auto [dx, d] = g.backend().feed_forward_backward(
            in.get(), w, m.defined() ? g * m.reshape({m.numel(), 1, 1, 1}) : g);
        const auto if_any = [](const Tensor& of, const Tensor& dv) {
          return of.defined() ? dv : Tensor();
        };
        const LinearResidualGradients last =
            through_scale({.weight = w2.get(), .bias = b2.get(), .s = s.get()},
                          {{}, d.contract, if_any(b2.get(), d.contract_bias)}, ds);
        return {g,
                dx,
                d.expand,
                if_any(w.expand_bias, d.expand_bias),
                d.taps,
                if_any(w.taps_bias, d.taps_bias),
                last.dweight,
                last.dbias,
                last.ds};
      });
}

}  // namespace nextgrad
