// The compositions that fused ops stand for, in the order of fused.h. What is bf16 is widened
// first and rounded once, at the end.
#include "tensor/fused.h"

#include "tensor/backend.h"
#include "tensor/costs.h"
#include "tensor/extents.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

Tensor widened(const Tensor& x) {
  return x.to(parameter_dtype(x.dtype()));
}
// [..., C] as rows [P, C].
Tensor rows_of(const Tensor& x) {
  const std::int64_t c = x.dim(-1);
  return x.reshape({c > 0 ? x.numel() / c : 0, c});
}
Tensor pixels_of(const Tensor& x) {
  return x.reshape({x.numel()});
}
// [N] to broadcast over images [N, ..., C].
Tensor per_image(const Tensor& mask, const Tensor& x) {
  Shape shape{mask.dim(0)};
  while (shape.size() < x.ndim()) shape.push_back(1);
  return mask.reshape(shape);
}
// How many rows x has for weight [O, I], y or dy being [..., O].
std::int64_t rows_for(const Tensor& x, const Tensor& weight, const Tensor& y) {
  const std::int64_t in = weight.dim(1), out = weight.dim(0);
  return in > 0 ? x.numel() / in : out > 0 ? y.numel() / out : 0;
}
Tensor activated(Activation f, const Tensor& x) {
  return f == Activation::none ? x : apply(unary_of(f), x);
}
// Over the last axis, which stays as extent 1.
Tensor largest(const Tensor& x) {
  const Tensor at = x.backend().argmax(x.contiguous(), -1).unsqueeze(-1);
  return x.backend().gather(x.contiguous(), x.ndim() - 1, at.contiguous());
}
// onto + dx, dx being widened.
Tensor sum_of(const Tensor& onto, const Tensor& dx) {
  return onto.defined() ? widened(onto) + dx : dx;
}
// mask[n] s[c] x, whichever is there.
Tensor scaled(Tensor x, const Tensor& s, const Tensor& mask) {
  if (s.defined()) x = x * s;
  return mask.defined() ? x * per_image(mask, x) : x;
}

}  // namespace

Tensor Fused::dropout_masks(std::int64_t n, DType dtype, const std::vector<double>& p,
                            const RandomKey& first) {
  const auto rows = static_cast<std::int64_t>(p.size());
  Tensor all = Tensor::empty({rows, n}, dtype, primitives().device());
  const OpScope scope(costs::dropout_masks(all));
  RandomKey key = first;
  for (std::int64_t i = 0; i < rows; ++i, ++key.use)
    all.slice(0, i, i + 1).copy_(primitives().dropout_mask({1, n}, dtype, p[i], key));
  return all;
}
void Fused::lerp(Tensor& y, const Tensor& x, double t) {
  const OpScope scope(costs::lerp(y));
  y.add_(x - y, t);
}
Tensor Fused::norm(const std::vector<Tensor>& all) {
  const OpScope scope(costs::norm(all));
  Tensor squares = Tensor::scalar(0, DType::f64, primitives().device());
  for (const Tensor& x : all) squares = squares + sum_to(square(x.to(DType::f64)), {});
  return sqrt(squares);
}
// The largest is subtracted first, so that no exponential overflows.
Tensor Fused::softmax(const Tensor& x, bool log) {
  const OpScope scope((log ? costs::log_softmax : costs::softmax)(x));
  if (x.numel() == 0) return x.clone();
  const Tensor in = widened(x), z = in - largest(in);
  const Tensor total = sum(exp(z), {x.ndim() - 1});
  return (log ? z - apply(Unary::log, total) : exp(z) / total).to(x.dtype());
}
Tensor Fused::softmax_backward(const Tensor& y, const Tensor& dy, bool log) {
  const OpScope scope((log ? costs::log_softmax_backward : costs::softmax_backward)(y));
  const Tensor p = widened(y), d = widened(dy);
  const std::vector<int> last = {y.ndim() - 1};
  return (log ? d - exp(p) * sum(d, last) : p * (d - sum(p * d, last))).to(dy.dtype());
}

Tensor Fused::linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     Activation activation, Tensor* pre_activation) {
  const OpScope scope(costs::linear(x, weight, pre_activation));
  Tensor z = matmul(widened(x), weight, false, true);
  if (bias.defined()) z = z + bias;
  z = z.to(x.dtype());
  if (pre_activation != nullptr) *pre_activation = z;
  return activated(activation, z);
}
ConvGradients Fused::linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                     Needs needs, const Tensor& onto) {
  const OpScope scope(costs::product_backward("linear_backward", weight, dy, needs, onto));
  const Tensor d = widened(dy);
  ConvGradients g;
  if (needs.dx) g.dx = sum_of(onto, matmul(d, weight)).to(dy.dtype());
  if (needs.dweight) g.dweight = matmul(d, widened(x), true);
  if (needs.dbias) g.dbias = sum_to(d, {weight.dim(0)});
  return g;
}

Tensor Fused::linear_gate(const Tensor& gate, const Tensor& x, const Tensor& weight,
                          const Tensor& bias) {
  const OpScope scope(costs::linear_gate(x, weight));
  return gate * linear(x, weight, bias, Activation::none, nullptr);
}

Needs with_scale(Needs needs, const Tensor& bias, bool needs_ds) {
  needs.dweight |= needs_ds;
  needs.dbias |= needs_ds && bias.defined();
  return needs;
}
ScaledRows scale_rows(const Tensor& weight, const Tensor& bias, const Tensor& s) {
  if (!s.defined()) return {weight, bias};
  return {weight * s.unsqueeze(1), bias.defined() ? bias * s : bias};
}
LinearResidualGradients through_scale(const LinearBranch& b, ConvGradients d, bool needs_ds) {
  LinearResidualGradients g{std::move(d)};
  if (!b.s.defined()) return g;
  if (needs_ds) g.ds = sum(b.weight * g.dweight, {1}).reshape(b.s.shape());
  if (needs_ds && b.bias.defined()) g.ds = g.ds + b.bias * g.dbias;
  if (g.dweight.defined()) g.dweight = g.dweight * b.s.unsqueeze(1);
  if (g.dbias.defined()) g.dbias = g.dbias * b.s;
  return g;
}
LinearResidualGradients with_extra(LinearResidualGradients g, const LinearBranch& b,
                                   const Tensor& dy, bool needs_ds) {
  if (!b.extra.defined()) return g;
  const ResidualGradients of_extra =
      dy.backend().residual_backward(b.extra, b.s, b.mask, dy, needs_ds);
  g.dextra = of_extra.dbranch;
  if (needs_ds) g.ds = g.ds + of_extra.ds;
  return g;
}

Tensor Fused::linear_residual(const Tensor& base, const Tensor& x, const LinearBranch& b,
                              Tensor* moments, const Tensor& base_scale) {
  const OpScope scope(costs::linear_residual(x, b));
  const Tensor f = activated(b.input, x).reshape({rows_for(x, b.weight, base), b.weight.dim(1)});
  Tensor branch = linear(f, b.weight, b.bias, Activation::none, nullptr).reshape(base.shape());
  if (b.extra.defined()) branch = branch + b.extra;
  const Tensor from = base_scale.defined() ? (widened(base) * base_scale).to(base.dtype()) : base;
  return residual(from, branch, b.s, b.mask, moments);
}
LinearResidualGradients Fused::linear_residual_backward(const Tensor& x, const LinearBranch& b,
                                                        const Tensor& dy, Needs needs,
                                                        bool needs_ds) {
  needs = with_scale(needs, b.bias, needs_ds);
  const OpScope scope(costs::linear_residual_backward(b, dy, needs));
  const Tensor g = scaled(widened(dy), {}, b.mask).to(dy.dtype()), f = activated(b.input, x);
  const std::int64_t rows = rows_for(x, b.weight, dy);
  ConvGradients d =
      linear_backward(f.reshape({rows, b.weight.dim(1)}), scale_rows(b.weight, {}, b.s).weight,
                      g.reshape({rows, b.weight.dim(0)}), needs);
  if (needs.dx) d.dx = d.dx.reshape(x.shape());
  // Of ReLU, whose slope reads y, x tells the same.
  if (needs.dx && b.input != Activation::none) d.dx = slope_times(unary_of(b.input), x, d.dx);
  return with_extra(through_scale(b, d, needs_ds), b, dy, needs_ds);
}

namespace {

constexpr Window kMixing{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};

}  // namespace

Tensor Fused::feed_forward(const Tensor& base, const Tensor& x, const FeedForwardWeights& f,
                           const Tensor& mask) {
  const OpScope scope(costs::feed_forward(base, x, f));
  const Tensor h = linear(rows_of(x), f.expand, f.expand_bias, Activation::none, nullptr);
  const Tensor z = primitives().depthwise(
      h.reshape({x.dim(0), x.dim(1), x.dim(2), f.expand.dim(0)}), f.taps, f.taps_bias, {}, kMixing);
  return linear_residual(
      base, z,
      {.weight = f.contract, .bias = f.contract_bias, .input = Activation::gelu, .mask = mask});
}
bool Fused::trains_feed_forward(const Tensor&, const FeedForwardWeights&) {
  return false;
}
FeedForwardGradients Fused::feed_forward_backward(const Tensor& x, const FeedForwardWeights& f,
                                                  const Tensor& dy) {
  const OpScope scope(costs::feed_forward_backward(x, f, dy));
  const Tensor h = linear(rows_of(x), f.expand, f.expand_bias, Activation::none, nullptr)
                       .reshape({x.dim(0), x.dim(1), x.dim(2), f.expand.dim(0)});
  const Tensor z = primitives().depthwise(h, f.taps, f.taps_bias, {}, kMixing);
  const Needs all{true, true, true};
  const LinearResidualGradients last = linear_residual_backward(
      z, {.weight = f.contract, .input = Activation::gelu}, dy, all, false);
  const auto [dh, dtaps, dtaps_bias] =
      primitives().depthwise_backward(h, f.taps, last.dx, kMixing, all);
  const auto [dx, dexpand, dexpand_bias] = linear_backward(rows_of(x), f.expand, rows_of(dh), all);
  return {dx.reshape(x.shape()),
          {dexpand, dexpand_bias, dtaps, dtaps_bias, last.dweight, last.dbias}};
}

namespace {

// [B, rows, heads * D], widened, as matrices [B * heads, rows, D], and back as x is.
Tensor by_heads(const Tensor& x, int heads) {
  const std::int64_t b = x.dim(0), rows = x.dim(1), d = x.dim(2) / heads;
  return widened(x)
      .reshape({b, rows, heads, d})
      .permute({0, 2, 1, 3})
      .reshape({b * heads, rows, d});
}
Tensor side_by_side(const Tensor& matrices, const Tensor& x, int heads) {
  const std::int64_t b = x.dim(0), rows = matrices.dim(1), d = matrices.dim(2);
  const Tensor split = matrices.reshape({b, heads, rows, d}).permute({0, 2, 1, 3});
  return split.reshape({b, rows, heads * d}).to(x.dtype());
}

}  // namespace

AttentionResult Fused::attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads,
                                 double scale) {
  const OpScope scope(costs::attention(q, k, v, heads));
  const AttentionExtents x = attention_extents(q, k, v, heads);
  if (x.empty()) return empty_attention(q, x);
  const Tensor s = matmul(by_heads(q, heads), by_heads(k, heads), false, true) * scale;
  const Tensor most = largest(s), e = exp(s - most), total = sum(e, {2});
  return {side_by_side(matmul(e / total, by_heads(v, heads)), q, heads),
          (most + apply(Unary::log, total)).reshape({x.b, x.heads, x.m})};
}
// With p = softmax(s), s = scale q k^T: dv = p^T dy, dp = dy v^T, ds = p (dp - sum(p dp)), where
// sum(p dp) = sum(dy y); dq = scale ds k, dk = scale ds^T q.
AttentionGradients Fused::attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                             const Tensor& y, const Tensor& log_sum,
                                             const Tensor& dy, int heads, double scale) {
  const OpScope scope(costs::attention_backward(q, k, v, dy, heads));
  const AttentionExtents x = attention_extents(q, k, v, heads);
  if (x.empty()) return empty_attention_gradients(q, k, v);
  const Tensor queries = by_heads(q, heads), keys = by_heads(k, heads), d = by_heads(dy, heads);
  const Tensor s = matmul(queries, keys, false, true) * scale;
  const Tensor p = exp(s - log_sum.reshape({x.b * x.heads, x.m, 1}));
  const Tensor dp = matmul(d, by_heads(v, heads), false, true);
  const Tensor ds = p * (dp - sum(d * by_heads(y, heads), {2})) * scale;
  return {side_by_side(matmul(ds, keys), q, heads),
          side_by_side(matmul(ds, queries, true), k, heads),
          side_by_side(matmul(p, d, true), v, heads)};
}

Tensor Fused::strips(const Tensor& x, const std::vector<Strip>& strips) {
  const OpScope scope(costs::strips(x, strips));
  const Tensor in = widened(x);
  Tensor y = in;
  for (const Strip& strip : strips) {
    const int k = static_cast<int>(strip.row.dim(1));
    const Tensor r =
        primitives().depthwise(in, strip.row, strip.row_bias, {}, {.kw = k, .pad_w = k / 2});
    y = primitives().depthwise(r, strip.column, strip.column_bias, y, {.kh = k, .pad_h = k / 2});
  }
  return strips.empty() ? x.clone() : y.to(x.dtype());
}
StripsGradients Fused::strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                       const Tensor& dy) {
  const OpScope scope(costs::strips_backward(x, strips));
  const Tensor in = widened(x), d = widened(dy);
  Tensor dx = d;
  StripsGradients g;
  for (const Strip& strip : strips) {
    const int k = static_cast<int>(strip.row.dim(1));
    const Window row{.kw = k, .pad_w = k / 2}, column{.kh = k, .pad_h = k / 2};
    const Tensor r = primitives().depthwise(in, strip.row, strip.row_bias, {}, row);
    const ConvGradients of_column = primitives().depthwise_backward(
        r, strip.column, d, column, {.dbias = strip.column_bias.defined()});
    const ConvGradients of_row = primitives().depthwise_backward(
        in, strip.row, of_column.dx, row, {.dbias = strip.row_bias.defined()});
    dx = dx + of_row.dx;
    g.dstrips.push_back({of_row.dweight, of_row.dbias, of_column.dweight, of_column.dbias});
  }
  g.dx = strips.empty() ? dy.clone() : dx.to(x.dtype());
  return g;
}

// The three norms are one: they differ in the axes that are averaged over, of x seen as `view`, and
// in the shape in which gamma and beta stand before those axes.
namespace {

struct NormView {
  Shape view, statistics, parameters;  // statistics: as they are returned
  std::vector<int> axes;
};

NormView batch_view(const Tensor& x) {
  const std::int64_t c = x.dim(-1);
  return {rows_of(x).shape(), {c}, {c}, {0}};
}
NormView layer_view(const Tensor& x) {
  return {rows_of(x).shape(), without_axis(x.shape(), x.ndim() - 1), {x.dim(-1)}, {1}};
}
NormView group_view(const Tensor& x, int groups) {
  const NormExtents e = group_extents(x, groups);
  return {{e.images, e.rows, groups, e.width()}, {e.images, groups}, {groups, e.width()}, {1, 3}};
}

// y = (x - m) r gamma + beta, m and r = 1 / sqrt(v + eps) of the averages over the axes.
NormResult normalised(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps,
                      const NormView& n) {
  const Tensor in = widened(x).reshape(n.view), m = mean(in, n.axes), d = in - m;
  const Tensor r = rsqrt(mean(square(d), n.axes) + eps);
  const Tensor y = d * (r * gamma.reshape(n.parameters)) + beta.reshape(n.parameters);
  return {y.reshape(x.shape()).to(x.dtype()), m.reshape(n.statistics), r.reshape(n.statistics)};
}

// The derivative, from the textbook's form to the kernels'. Of n elements that share a mean m and
// r = 1 / sqrt(v + eps), with z = (x - m) r, h = gamma dy and <> their average,
//   dx = r (h - <h> - z <h z>),   dbeta = sum dy,   dgamma = sum dy z = r sum dy (x - m).
// Kernels first sum A = sum h and B = sum h (x - m), so that <h> = A / n and <h z> = r B / n, and
// then need but three coefficients for each channel:
//   dx = a dy - b (x - m) - d,    a = r gamma,  b = r^3 B / n,  d = r A / n.
NormGradients normalised_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean_,
                                  const Tensor& rstd, const Tensor& dy, const NormView& n,
                                  const Tensor& onto = {}) {
  if (x.numel() == 0) return empty_norm_gradients(x, gamma);
  Shape kept = n.view;
  for (const int a : n.axes) kept[a] = 1;
  const Tensor r = rstd.reshape(kept), d = widened(dy).reshape(n.view);
  const Tensor z = (widened(x).reshape(n.view) - mean_.reshape(kept)) * r;
  const Tensor h = d * gamma.reshape(n.parameters);
  const Tensor dx = r * (h - mean(h, n.axes) - z * mean(h * z, n.axes));
  return {sum_of(onto, dx.reshape(x.shape())).to(x.dtype()),
          sum_to(d * z, n.parameters).reshape(gamma.shape()),
          sum_to(d, n.parameters).reshape(gamma.shape())};
}

}  // namespace

NormResult Fused::batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps,
                             const Tensor&, const RunningStatistics* running) {
  const OpScope scope(costs::batch_norm(x, {}));
  const NormResult r = normalised(x, gamma, beta, eps, batch_view(x));
  if (running != nullptr) update_running(*running, r.mean, r.rstd, eps, batch_extents(x).rows);
  return r;
}
NormGradients Fused::batch_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                         const Tensor& rstd, const Tensor& dy, const Tensor& onto) {
  const OpScope scope(costs::batch_norm_backward(x, onto));
  return normalised_backward(x, gamma, mean, rstd, dy, batch_view(x), onto);
}
void Fused::update_running(const RunningStatistics& running, const Tensor& mean, const Tensor& rstd,
                           double eps, std::int64_t rows) {
  const OpScope scope(costs::update_running(mean));
  const double unbiased = rows > 1 ? static_cast<double>(rows) / static_cast<double>(rows - 1) : 1;
  const Tensor one = Tensor::full(rstd.shape(), 1, rstd.dtype(), rstd.device());
  const Tensor variance = apply(Unary::clamp_min, one / square(rstd) + -eps, 0) * unbiased;
  lerp(running.mean, mean.to(running.mean.dtype()), running.momentum);
  lerp(running.var, variance.to(running.var.dtype()), running.momentum);
  if (running.batches != nullptr) running.batches->fill_(running.batches->item() + 1);
}
Fused::FoldedNorm Fused::fold_statistics(const Tensor& gamma, const Tensor& beta,
                                         const Tensor& mean, const Tensor& variance, double eps) {
  const OpScope scope(costs::fold_statistics(gamma));
  const Tensor rstd = rsqrt(variance + eps), scale = gamma * rstd;
  return {scale, beta - mean * scale, rstd};
}
Tensor Fused::channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift,
                             const Tensor& centre, const Tensor& rstd) {
  const OpScope scope(costs::channel_affine(x));
  const Tensor in = widened(x), factor = rstd.defined() ? rstd * scale : scale;
  return ((centre.defined() ? in - centre : in) * factor + shift).to(x.dtype());
}

namespace {

// Rows [P, C] in double, less centre.
Tensor centred(const Tensor& x, const Tensor& centre) {
  const Tensor rows = rows_of(x).to(DType::f64);
  return centre.defined() ? rows - centre.to(DType::f64) : rows;
}
// The sums over rows [P, C] of a and of b: [2, C].
Tensor two_sums(const Tensor& a, const Tensor& b) {
  Tensor sums = Tensor::empty({2, a.dim(1)}, a.dtype(), a.device());
  sums.slice(0, 0, 1).copy_(sum(a, {0}));
  sums.slice(0, 1, 2).copy_(sum(b, {0}));
  return sums;
}

}  // namespace

Tensor Fused::channel_moments(const Tensor& x, const Tensor& centre) {
  const OpScope scope(costs::channel_moments(x));
  const Tensor d = centred(x, centre);
  return two_sums(d, square(d));
}
Tensor Fused::channel_products(const Tensor& x, const Tensor& centre, const Tensor& dy) {
  const OpScope scope(costs::channel_products(x));
  const Tensor d = centred(dy, {});
  return two_sums(d, d * centred(x, centre));
}
Tensor Fused::channel_gradient(const Tensor& x, const Tensor& centre, const Tensor& dy,
                               const Tensor& coefficients) {
  const OpScope scope(costs::channel_gradient(x));
  const auto of = [&](int i) { return coefficients.slice(0, i, i + 1).squeeze(0); };
  return (of(0) * widened(dy) - of(1) * (widened(x) - centre) - of(2)).to(dy.dtype());
}

NormResult Fused::layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  const OpScope scope(costs::layer_norm(x));
  return normalised(x, gamma, beta, eps, layer_view(x));
}
NormGradients Fused::layer_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                         const Tensor& rstd, const Tensor& dy) {
  const OpScope scope(costs::layer_norm_backward(x));
  return normalised_backward(x, gamma, mean, rstd, dy, layer_view(x));
}
NormResult Fused::group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int groups,
                             double eps) {
  const OpScope scope(costs::group_norm(x));
  return normalised(x, gamma, beta, eps, group_view(x, groups));
}
NormGradients Fused::group_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                         const Tensor& rstd, const Tensor& dy, int groups) {
  const OpScope scope(costs::group_norm_backward(x));
  return normalised_backward(x, gamma, mean, rstd, dy, group_view(x, groups));
}

Tensor Fused::residual(const Tensor& x, const Tensor& branch, const Tensor& s, const Tensor& mask,
                       Tensor*) {
  const OpScope scope(costs::residual(x));
  return (widened(x) + scaled(widened(branch), s, mask)).to(x.dtype());
}
ResidualGradients Fused::residual_backward(const Tensor& branch, const Tensor& s,
                                           const Tensor& mask, const Tensor& dy, bool needs_ds) {
  const OpScope scope(costs::residual_backward(dy));
  const Tensor d = scaled(widened(dy), {}, mask);
  ResidualGradients g{scaled(d, s, {}).to(dy.dtype()), {}};
  if (s.defined() && needs_ds) g.ds = sum_to(d * widened(branch), s.shape());
  return g;
}
std::pair<Tensor, Tensor> Fused::gate_backward(const Tensor& a, const Tensor& u, const Tensor& dy) {
  const OpScope scope(costs::gate_backward(dy));
  return {dy * u, dy * a};
}

Tensor Fused::resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) {
  const OpScope scope(costs::resize_argmax(x, h, w));
  return primitives().argmax(primitives().resize(x, h, w, Resize::bilinear), -1).to(DType::i32);
}
CrossEntropyResult Fused::upsample_cross_entropy(const Tensor& logits,
                                                 const CrossEntropyTarget& t) {
  const OpScope scope(costs::upsample_cross_entropy(logits, t.labels));
  const Tensor full =
      primitives().resize(logits, t.labels.dim(1), t.labels.dim(2), Resize::bilinear);
  CrossEntropyResult r =
      primitives().cross_entropy(rows_of(full), {pixels_of(t.labels), t.weights, t.options});
  r.log_sum = r.log_sum.reshape(t.labels.shape());
  return r;
}
Tensor Fused::upsample_cross_entropy_backward(const Tensor& logits, const CrossEntropyTarget& t,
                                              const CrossEntropyResult& r, const Tensor& dloss) {
  const OpScope scope(costs::upsample_cross_entropy_backward(logits, t.labels));
  const Tensor full =
      primitives().resize(logits, t.labels.dim(1), t.labels.dim(2), Resize::bilinear);
  const Tensor d = primitives().cross_entropy_backward(
      rows_of(full), {pixels_of(t.labels), t.weights, t.options},
      {r.loss, pixels_of(r.log_sum), r.normaliser}, dloss);
  return primitives().resize_backward(logits.shape(), d.reshape(full.shape()), Resize::bilinear);
}

}  // namespace nextgrad
