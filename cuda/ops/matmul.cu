// Products and what goes with them: bias, activations, the end of a residual branch and, in
// evaluation, a whole feed-forward branch. The product itself is cuBLASLt's, with the bias in its
// epilogue. Its GELU epilogue is not used: it is the approximation by tanh, and the models are
// trained with the exact one.
#include "cuda/device/cuda_backend.h"
#include "cuda/device/gemm.h"
#include "cuda/device/operands.h"
#include "cuda/kit/sums.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {

void CudaBackend::product(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b,
                          Tensor& c, const Tensor& bias, bool add) {
  const int last = a.ndim() - 1, left = transpose_a ? last : last - 1;
  const std::int64_t m = a.dim(left), k = a.dim(2 * last - 1 - left);
  const std::int64_t n = b.dim(transpose_b ? last - 1 : last);
  if (c.numel() == 0) return;
  if (k == 0) {
    if (!add) fill(c, 0);
    if (bias.defined()) c.copy_(bias);
    return;
  }
  // Rounded, if the activations are bf16.
  const Tensor with = operands_->of(b, a.dtype());
  const Tensor added = bias.defined() ? operands_->of(bias, c.dtype()) : Tensor();
  const bool batched = last == 2;
  gemm_->run({.m = m,
              .n = n,
              .k = k,
              .a = a.raw(),
              .b = with.raw(),
              .c = c.raw(),
              .transpose_a = transpose_a,
              .transpose_b = transpose_b,
              .in = a.dtype(),
              .out = c.dtype(),
              .batch = batched ? c.dim(0) : 1,
              .stride_a = batched && a.dim(0) > 1 ? m * k : 0,
              .stride_b = batched && b.dim(0) > 1 ? k * n : 0,
              .stride_c = m * n,
              .add = add,
              .bias = added.defined() ? added.raw() : nullptr});
}

Tensor CudaBackend::matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const std::int64_t batch = a.dim(0) == 1 ? b.dim(0) : a.dim(0);  // an empty one stays empty
  const std::int64_t m = a.dim(transpose_a ? 2 : 1), k = a.dim(transpose_a ? 1 : 2);
  Tensor c = empty({batch, m, b.dim(transpose_b ? 1 : 2)}, a.dtype());
  Scope scope(*this, costs::matmul(a, b, c, k));
  product(a, transpose_a, b, transpose_b, c, {});
  return c;
}

Tensor CudaBackend::linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           Activation activation, Tensor* pre_activation) {
  Tensor z = empty({x.dim(0), weight.dim(0)}, x.dtype());
  Scope scope(*this, costs::linear(x, weight, pre_activation));
  product(x, false, weight, true, z, bias);
  if (pre_activation != nullptr) *pre_activation = z;
  if (activation == Activation::none) return z;
  Tensor y = pre_activation == nullptr ? z : empty_like(z);
  unary_into(unary_of(activation), z, 0, y);
  return y;
}

// dx = dy W, dW = dy^T x, db = column sums of dy.
ConvGradients CudaBackend::linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                           Needs needs, const Tensor& onto) {
  const std::int64_t rows = dy.dim(0), in = weight.dim(1), out = weight.dim(0);
  Scope scope(*this, costs::product_backward("linear_backward", weight, dy, needs, onto));
  ConvGradients g;
  if (needs.dx) {
    g.dx = onto.defined() ? onto : empty({rows, in}, dy.dtype());
    product(dy, false, weight, false, g.dx, {}, onto.defined());
  }
  if (needs.dweight) {
    g.dweight = empty({out, in}, parameter_dtype(dy.dtype()));
    product(dy, true, x, false, g.dweight, {});
  }
  if (needs.dbias) g.dbias = column_sums(stream_, arrivals_, dy.reshape({rows, out}));
  return g;
}

Tensor CudaBackend::linear_residual(const Tensor& base, const Tensor& x, const LinearBranch& b,
                                    Tensor* moments, const Tensor& base_scale) {
  const std::int64_t in = b.weight.dim(1), out = b.weight.dim(0);
  Scope scope(*this, costs::linear_residual(x, b));
  if (base.numel() == 0) return empty_like(base);
  const Tensor f = b.input == Activation::none ? x : unary(unary_of(b.input), x, 0);
  const Tensor branch =
      linear(f.reshape({base.numel() / out, in}), b.weight, {}, Activation::none, nullptr);
  return residual_sum(base, base_scale, branch, b.extra, b.s, b.bias, b.mask, moments);
}

namespace {

// Of V = s W and c = s b, whose gradients are dv, also where dw goes, and dc: a block an output. ds
// may hold what comes by `extra`.
template <class C>
__global__ void through_scale_kernel(const C* w, const C* b, const C* s, C* dv, C* dc,
                                     std::int64_t in, bool add, C* ds) {
  __shared__ double scratch[32];
  const std::int64_t row = blockIdx.x, first = row * in;
  double sum = 0;
  for (std::int64_t i = first + threadIdx.x; i < first + in; i += blockDim.x) {
    sum += static_cast<double>(w[i]) * static_cast<double>(dv[i]);
    dv[i] *= s[row];
  }
  sum = block_reduce(sum, scratch);
  if (threadIdx.x != 0) return;
  if (b != nullptr) sum += static_cast<double>(b[row]) * static_cast<double>(dc[row]);
  if (dc != nullptr) dc[row] *= s[row];
  if (ds != nullptr) ds[row] = static_cast<C>(add ? static_cast<double>(ds[row]) + sum : sum);
}

}  // namespace

// With g = mask dy and V = s W: dx = (g V) f'(x), dV = g^T f(x), dc = column sums of g.
LinearResidualGradients CudaBackend::linear_residual_backward(const Tensor& x,
                                                              const LinearBranch& b,
                                                              const Tensor& dy, Needs needs,
                                                              bool needs_ds) {
  needs = with_scale(needs, b.bias, needs_ds);
  const std::int64_t in = b.weight.dim(1), out = b.weight.dim(0);
  const std::int64_t rows = in > 0 ? x.numel() / in : dy.numel() / std::max<std::int64_t>(1, out);
  Scope scope(*this, costs::linear_residual_backward(b, dy, needs));
  LinearResidualGradients d;
  Tensor g = dy;
  if (b.extra.defined()) {
    if (b.mask.defined()) g = empty_like(dy);
    ResidualGradients of_extra =
        branch_gradients(b.extra, b.s, b.mask, dy, needs_ds, b.mask.defined() ? &g : nullptr);
    d.dextra = of_extra.dbranch;
    d.ds = of_extra.ds;
  } else if (b.mask.defined()) {
    g = residual_backward({}, {}, b.mask, dy, false).dbranch;
  }
  const Tensor v = b.weight.numel() > 0 && needs.dx && b.s.defined()
                       ? operands_->of(b.weight, x.dtype(), in, in, b.s)
                       : b.weight;
  g = g.reshape({rows, out});
  ConvGradients& of_product = d;
  // First the gradient of f(x): one pass then gives that of x, and f(x) for dV.
  if (needs.dx) of_product = linear_backward({}, v, g, {true, false, false});
  Tensor f = x;
  if (b.input != Activation::none && needs.dx)
    f = activation_and_slope(b.input, x, d.dx);
  else if (b.input != Activation::none && needs.dweight)
    f = unary(unary_of(b.input), x, 0);
  const Tensor dx = needs.dx ? d.dx.reshape(x.shape()) : Tensor();
  of_product = linear_backward(f.reshape({rows, in}), v, g, {false, needs.dweight, needs.dbias});
  d.dx = dx;
  if (!b.s.defined() || out == 0 || !(needs.dweight || needs.dbias)) return d;
  const bool add = d.ds.defined();
  if (needs_ds && !add) d.ds = empty_like(b.s);
  dispatch_float(b.s.dtype(), "through_scale", [&](auto zero) {
    launch("through_scale", through_scale_kernel<decltype(zero)>, {dim3(out), dim3(128)}, stream_,
           b.weight, needs_ds ? b.bias : Tensor(), b.s, d.dweight, d.dbias, needs.dweight ? in : 0,
           add, d.ds);
  });
  return d;
}

// Between the products is the depth-wise 3x3, which applies its bias and GELU as it writes: the
// hidden maps are read and written once each.
Tensor CudaBackend::feed_forward(const Tensor& base, const Tensor& x, const FeedForwardWeights& f,
                                 const Tensor& mask) {
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  const std::int64_t hidden = f.expand.dim(0), pixels = n * h * w;
  Scope scope(*this, costs::feed_forward(base, x, f));
  const Tensor wide =
      linear(x.reshape({pixels, c}), f.expand, f.expand_bias, Activation::none, nullptr)
          .reshape({n, h, w, hidden});
  const Window window{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  Tensor z = empty_like(wide);
  depthwise_into(wide, f.taps, f.taps_bias, {}, window, Activation::gelu, z);
  return linear_residual(base, z, {.weight = f.contract, .bias = f.contract_bias, .mask = mask});
}

}  // namespace nextgrad::cuda
