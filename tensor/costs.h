// What every op is called in a profile, and what it costs at least: the same on all backends.
#pragma once

#include "tensor/extents.h"
#include "tensor/profile.h"

namespace nextgrad::costs {

// Of an op that goes over the elements of one tensor, its bytes so many times.
struct PerElement {
  const char* name;
  double flops, passes;
  Work operator()(const Tensor& x) const { return {name, flops * x.numel(), passes * x.nbytes()}; }
};

inline constexpr PerElement fill{"fill", 0, 1}, axpy{"axpy", 2, 3}, lerp{"lerp", 3, 3},
    reduce{"reduce", 1, 1}, argmax{"argmax", 1, 1}, softmax{"softmax", 4, 2},
    log_softmax{"log_softmax", 4, 2}, softmax_backward{"softmax_backward", 4, 3},
    log_softmax_backward{"log_softmax_backward", 4, 3}, layer_norm{"layer_norm", 8, 2},
    layer_norm_backward{"layer_norm_backward", 14, 3}, group_norm{"group_norm", 7, 3},
    group_norm_backward{"group_norm_backward", 9, 5}, update_running{"update_running", 8, 6},
    fold_statistics{"fold_statistics", 4, 7}, channel_affine{"channel_affine", 2, 2},
    channel_moments{"channel_moments", 4, 1}, channel_products{"channel_products", 4, 2},
    channel_gradient{"channel_gradient", 5, 3}, residual{"residual", 2, 3},
    residual_backward{"residual_backward", 3, 3}, gate_backward{"gate_backward", 2, 5},
    adamw{"adamw", 12, 7}, sgd{"sgd", 6, 5};

// A gradient that is added to what is there reads that, too.
inline double bytes_of(const Tensor& onto) {
  return onto.defined() ? 1.0 * onto.nbytes() : 0;
}
inline Work batch_norm_backward(const Tensor& x, const Tensor& onto = {}) {
  return {"batch_norm_backward", 9.0 * x.numel(), 5.0 * x.nbytes() + bytes_of(onto)};
}
inline Work batch_norm(const Tensor& x, const Tensor& moments) {
  return PerElement{"batch_norm", 7, moments.defined() ? 2.0 : 3.0}(x);
}
inline Work dropout_masks(const Tensor& all) {
  return PerElement{"dropout_mask", 0, 1}(all);
}
inline Work copy(const Tensor& from, const Tensor& to) {
  return {"copy", 0, 1.0 * from.nbytes() + to.nbytes()};
}
inline Work unary(Unary op, const Tensor& x) {
  return PerElement{facts_of(op).name, 1, 2}(x);
}
inline Work unary_backward(Unary op, const Tensor& dy) {
  return PerElement{facts_of(op).backward_name, 2, 3}(dy);
}
inline Work binary(Binary op, const Tensor& a, const Tensor& b, const Tensor& y) {
  return {name_of(op), 1.0 * y.numel(), 1.0 * a.nbytes() + b.nbytes() + y.nbytes()};
}
inline Work gather(const Tensor& x, const Tensor& index) {
  return {"gather", 0, 1.0 * x.nbytes() + index.nbytes()};
}
inline Work gather_backward(const Tensor& dy, const Tensor& index) {
  return {"gather_backward", 1.0 * dy.numel(), 1.0 * dy.nbytes() + index.nbytes()};
}

// Of all the tensors together, or of the parameters of all slots.
inline Work norm(const std::vector<Tensor>& all) {
  Work sum{"norm", 0, 0};
  for (const Tensor& x : all) sum = {"norm", sum.flops + 2.0 * x.numel(), sum.bytes + x.nbytes()};
  return sum;
}
inline Work optimizer(const PerElement& of_one, const std::vector<OptimizerSlot>& slots) {
  Work sum{of_one.name, 0, 0};
  for (const OptimizerSlot& s : slots)
    sum = {sum.name, sum.flops + of_one(s.p).flops, sum.bytes + of_one(s.p).bytes};
  return sum;
}

// --- products: x [..., I] by weights [O, I]; a backward is one for each gradient ---
// All FLOPs but `others` are those of matrix products of such numbers.
inline Work of_products(DType dtype, Work w, double others = 0) {
  if (dtype == DType::bf16) w.bf16_product_flops = w.flops - others;
  if (dtype == DType::f32) w.f32_product_flops = w.flops - others;
  return w;
}
inline Work matmul(const Tensor& a, const Tensor& b, const Tensor& c, std::int64_t k) {
  return of_products(a.dtype(),
                     {"matmul", 2.0 * c.numel() * k, 1.0 * a.nbytes() + b.nbytes() + c.nbytes()});
}
// Rows of the output's extent are read or written `times`.
inline Work product(const char* name, const Tensor& x, const Tensor& weight, int times) {
  const double rows = weight.dim(1) > 0 ? x.numel() / weight.dim(1) : 0, out = weight.dim(0);
  return of_products(x.dtype(),
                     {name, 2.0 * rows * weight.numel(),
                      x.nbytes() + weight.nbytes() + times * rows * out * size_of(x.dtype())});
}
inline Work linear(const Tensor& x, const Tensor& weight, const Tensor* pre_activation) {
  return product("linear", x, weight, pre_activation != nullptr ? 2 : 1);
}
inline Work linear_gate(const Tensor& x, const Tensor& weight) {
  return product("linear_gate", x, weight, 2);
}
inline Work linear_residual(const Tensor& x, const LinearBranch& b) {
  return product("linear_residual", x, b.weight, b.extra.defined() ? 3 : 2);
}
inline Work product_backward(const char* name, const Tensor& weight, const Tensor& dy, Needs needs,
                             const Tensor& onto = {}) {
  const double rows = weight.dim(0) > 0 ? dy.numel() / weight.dim(0) : 0, in = weight.dim(1);
  const int products = int{needs.dx} + int{needs.dweight};
  return of_products(
      dy.dtype(), {name, 2.0 * products * rows * weight.numel(),
                   dy.nbytes() + products * (weight.nbytes() + rows * in * size_of(dy.dtype())) +
                       bytes_of(onto)});
}
inline Work linear_residual_backward(const LinearBranch& b, const Tensor& dy, Needs needs) {
  Work w = product_backward("linear_residual_backward", b.weight, dy, needs);
  if (b.extra.defined()) w.bytes += 2.0 * dy.nbytes();
  return w;
}
inline Work feed_forward(const Tensor& base, const Tensor& x, const FeedForwardWeights& f) {
  const double pixels = 1.0 * x.dim(0) * x.dim(1) * x.dim(2);
  const double hidden = f.expand.dim(0);
  return of_products(x.dtype(),
                     {"feed_forward", 2.0 * hidden * (x.numel() + 9 * pixels + base.numel()),
                      x.nbytes() + 2.0 * base.nbytes()},
                     2.0 * hidden * 9 * pixels);
}

// Those of the forward twice, and once more the first product and the taps, computed again.
inline Work feed_forward_backward(const Tensor& x, const FeedForwardWeights& f, const Tensor& dy) {
  const double pixels = 1.0 * x.dim(0) * x.dim(1) * x.dim(2);
  const double hidden = f.expand.dim(0);
  return of_products(
      dy.dtype(),
      {"feed_forward_backward", 2.0 * hidden * (3.0 * x.numel() + 27 * pixels + 2.0 * dy.numel()),
       2.0 * x.nbytes() + dy.nbytes()},
      2.0 * hidden * 27 * pixels);
}

// --- matrix factorisation: x is read by every product with one of its sides, in f32 for bf16; and
// each update has products of R x R with both factors ---
inline Work nmf_work(const char* name, const Tensor& x, std::int64_t rank, double products,
                     double updates, double passes) {
  const double elements = x.numel(), factors = 1.0 * x.dim(0) * (x.dim(1) + x.dim(2)) * rank;
  const DType dtype = parameter_dtype(x.dtype());
  return of_products(dtype, {name, 2.0 * rank * (elements * products + factors * updates),
                             passes * elements * size_of(dtype)});
}
inline Work nmf(const Tensor& x, const Tensor& bases, const NmfOptions& o) {
  const double products = 2.0 * o.steps + 2;
  return nmf_work("nmf", x, bases.dim(2), products, 2.0 * o.steps + 1, products);
}
inline Work nmf_backward(const Tensor& x, const Tensor& coef, const NmfOptions& o, NmfKeep kept) {
  const double steps = kept == NmfKeep::all_steps ? o.steps : 0;
  // Two of dy, two a step, and that of dX, whose factors are as many as there were updates.
  return nmf_work("nmf_backward", x, coef.dim(2), 4 * steps + 3, 3 * (2 * steps + 1),
                  2 * steps + 3);
}

// --- attention: two products of all queries and keys, five in the backward ---
inline Work attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads) {
  const AttentionExtents x = attention_extents(q, k, v, heads);
  const double queries = 1.0 * x.b * x.m, y = queries * v.dim(2) * size_of(v.dtype());
  return of_products(q.dtype(), {"attention", 2.0 * queries * x.n * (q.dim(2) + v.dim(2)),
                                 y + q.nbytes() + k.nbytes() + v.nbytes()});
}
inline Work attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& dy,
                               int heads) {
  const AttentionExtents x = attention_extents(q, k, v, heads);
  return of_products(q.dtype(),
                     {"attention_backward", 2.0 * x.b * x.m * x.n * (3 * q.dim(2) + 2 * v.dim(2)),
                      2.0 * (q.nbytes() + k.nbytes() + v.nbytes() + dy.nbytes())});
}

// --- convolutions ---
inline Work conv2d(const Tensor& x, const Tensor& weight, const Tensor& y) {
  const double taps = weight.dim(0) > 0 ? weight.numel() / weight.dim(0) : 0;
  return of_products(x.dtype(), {"conv2d", 2.0 * y.numel() * taps,
                                 1.0 * x.nbytes() + weight.nbytes() + y.nbytes()});
}
inline Work conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, Needs needs) {
  const int products = int{needs.dx} + int{needs.dweight};
  return of_products(x.dtype(), {"conv2d_backward", products * conv2d(x, weight, dy).flops,
                                 1.0 * dy.nbytes() + products * x.nbytes()});
}
inline Work depthwise(const Tensor& x, const Window& window, const Tensor& y, const Tensor& base) {
  return {"depthwise_{}x{}", 2.0 * y.numel() * window.kh * window.kw,
          x.nbytes() + (base.defined() ? 2.0 : 1.0) * y.nbytes(), window.kh, window.kw};
}
inline Work depthwise_backward(const Tensor& x, const Window& window, const Tensor& dy, Needs needs,
                               const Tensor& onto) {
  const int products = int{needs.dx} + int{needs.dweight || needs.dbias};
  return {"depthwise_{}x{}_backward", 2.0 * products * dy.numel() * window.kh * window.kw,
          1.0 * dy.nbytes() + products * x.nbytes() + bytes_of(onto), window.kh, window.kw};
}
inline Work strips(const Tensor& x, const std::vector<Strip>& strips) {
  double taps = 0;
  for (const Strip& strip : strips) taps += 2.0 * strip.row.dim(1);
  return {"strips", 2.0 * taps * x.numel(), 2.0 * x.nbytes()};
}
// Two transposed strips, two gradients of taps, and the row results once more.
inline Work strips_backward(const Tensor& x, const std::vector<Strip>& all) {
  return {"strips_backward", 2.5 * strips(x, all).flops, 3.0 * x.nbytes()};
}

// --- resized pictures and losses ---
inline Work resize(const char* name, const ResizeExtents& e, DType dtype) {
  return {name, 7.0 * e.n * e.oh * e.ow * e.c,
          1.0 * e.n * e.c * (e.h * e.w + e.oh * e.ow) * size_of(dtype)};
}
inline Work resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) {
  const double pixels = 1.0 * x.dim(0) * h * w;
  return {"resize_argmax", 4.0 * pixels * x.dim(3), x.nbytes() + pixels * size_of(DType::i32)};
}
inline Work loss(const char* name, double flops, const Tensor& logits, double times_logits,
                 const Tensor& labels, double times_labels) {
  return {name, flops * labels.numel() * logits.dim(-1),
          times_logits * logits.nbytes() + times_labels * labels.nbytes()};
}
inline Work cross_entropy(const Tensor& logits, const Tensor& labels) {
  return loss("cross_entropy", 6, logits, 1, labels, 1);
}
inline Work cross_entropy_backward(const Tensor& logits, const Tensor& labels) {
  return loss("cross_entropy_backward", 6, logits, 2, labels, 1);
}
inline Work upsample_cross_entropy(const Tensor& logits, const Tensor& labels) {
  return loss("upsample_cross_entropy", 6, logits, 1, labels, 2);
}
inline Work upsample_cross_entropy_backward(const Tensor& logits, const Tensor& labels) {
  return loss("upsample_cross_entropy_backward", 12, logits, 2, labels, 2);
}

}  // namespace nextgrad::costs
