// Products and what goes with them in one pass: bias, GELU and the end of a residual branch. The
// product itself is cuBLASLt's, with the bias in its epilogue. Its GELU epilogue is not used: it is
// the approximation by tanh, and the models are trained with the exact one.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channels.h"
#include "cuda/kit/kernel.h"
#include "cuda/ops/column_sums.h"

namespace nextgrad::cuda {
namespace {

// z += bias (where given); y = gelu(z), or relu(z) in place of z. Columns are a multiple of N.
template <Activation activation, int N, class T>
__global__ void finish_kernel(T* z, const Compute<T>* bias, T* y, std::int64_t packs, int columns) {
  for (std::int64_t i = global_index(); i < packs; i += global_threads()) {
    Compute<T> v[N];
    load<N>(z + i * N, v);
    const int c = static_cast<int>(i * N % columns);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (bias != nullptr) v[k] += bias[c + k];
    }
    if (z != y && bias != nullptr) store<N>(z + i * N, v);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if constexpr (activation == Activation::relu) v[k] = v[k] < 0 ? Compute<T>(0) : v[k];
      // From z as it was stored, so that the backward sees the same one.
      if constexpr (activation == Activation::gelu) v[k] = gelu(widen(narrow<T>(v[k])));
    }
    store<N>(y + i * N, v);
  }
}

// y = mask[image] f(x); f is GELU or nothing.
template <bool with_gelu, int N, class T>
__global__ void masked_kernel(const T* x, const Compute<T>* mask, T* y, std::int64_t packs,
                              std::int64_t per_image) {
  for (std::int64_t i = global_index(); i < packs; i += global_threads()) {
    Compute<T> v[N];
    load<N>(x + i * N, v);
    const Compute<T> m = mask != nullptr ? mask[i / per_image] : Compute<T>(1);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = m * (with_gelu ? gelu(v[k]) : v[k]);
    store<N>(y + i * N, v);
  }
}

double work(const Tensor& x, const Tensor& weight) {
  const std::int64_t rows = x.numel() / std::max<std::int64_t>(1, weight.dim(1));
  return 2.0 * static_cast<double>(rows) * static_cast<double>(weight.numel());
}

double bytes_of(std::initializer_list<const Tensor*> tensors) {
  double sum = 0;
  for (const Tensor* t : tensors) sum += t->defined() ? static_cast<double>(t->nbytes()) : 0.0;
  return sum;
}

template <class T>
void finish(cudaStream_t stream, Tensor& z, const Tensor& bias, Activation activation, Tensor& y) {
  const auto columns = static_cast<int>(z.dim(-1));
  const auto* b = data_or_null<const Compute<T>>(bias);
  const auto go = [&](auto kernel, int n) {
    launch("bias_activation", kernel, grid_for(z.numel() / n), stream, z.data<T>(), b, y.data<T>(),
           z.numel() / n, columns);
  };
  const auto with = [&](auto a) {
    constexpr Activation kActivation = decltype(a)::value;
    if (packs_fit<T>(columns, z.data<T>(), y.data<T>())) {
      go(finish_kernel<kActivation, kPack<T>, T>, kPack<T>);
    } else {
      go(finish_kernel<kActivation, 1, T>, 1);
    }
  };
  if (activation == Activation::gelu)
    return with(std::integral_constant<Activation, Activation::gelu>{});
  if (activation == Activation::relu)
    return with(std::integral_constant<Activation, Activation::relu>{});
  with(std::integral_constant<Activation, Activation::none>{});
}

}  // namespace

Tensor CudaBackend::product_operand(const Tensor& weight, DType activations) const {
  return weight.dtype() == activations ? weight : weight.to(activations);
}

Tensor CudaBackend::matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const std::int64_t batch = std::max(a.dim(0), b.dim(0));
  const std::int64_t m = a.dim(transpose_a ? 2 : 1), k = a.dim(transpose_a ? 1 : 2);
  const std::int64_t n = b.dim(transpose_b ? 1 : 2);
  Tensor c = empty({a.dim(0) == 0 || b.dim(0) == 0 ? 0 : batch, m, n}, a.dtype());
  Scope scope(*this, "matmul", 2.0 * static_cast<double>(c.numel()) * static_cast<double>(k),
              bytes_of({&a, &b, &c}));
  if (c.numel() == 0) return c;
  if (k == 0) {
    fill(c, 0);
    return c;
  }
  gemm_->run({.m = m,
              .n = n,
              .k = k,
              .a = a.raw(),
              .b = b.raw(),
              .c = c.raw(),
              .transpose_a = transpose_a,
              .transpose_b = transpose_b,
              .in = a.dtype(),
              .out = c.dtype(),
              .batch = batch,
              .stride_a = a.dim(0) == 1 ? 0 : m * k,
              .stride_b = b.dim(0) == 1 ? 0 : k * n,
              .stride_c = m * n});
  return c;
}

Tensor CudaBackend::linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           Activation activation, Tensor* pre_activation) {
  const std::int64_t rows = x.dim(0), in = weight.dim(1), out = weight.dim(0);
  Tensor z = empty({rows, out}, x.dtype());
  Scope scope(*this, "linear", work(x, weight), bytes_of({&x, &weight, &z}));
  if (z.numel() == 0) return z;
  // cuBLASLt adds no bias to f64, and a product over nothing is not its business.
  const bool bias_in_product = bias.defined() && x.dtype() != DType::f64 && in > 0;
  const Tensor w = product_operand(weight, x.dtype());
  const Tensor added = bias_in_product ? product_operand(bias, x.dtype()) : Tensor();
  if (in == 0) {
    fill(z, 0);
  } else {
    gemm_->run({.m = rows,
                .n = out,
                .k = in,
                .a = x.raw(),
                .b = w.raw(),
                .c = z.raw(),
                .transpose_b = true,
                .in = x.dtype(),
                .out = x.dtype(),
                .bias = added.defined() ? added.raw() : nullptr});
  }
  const Tensor rest = bias_in_product ? Tensor() : bias;
  if (activation == Activation::none && !rest.defined()) {
    if (pre_activation != nullptr) *pre_activation = z;
    return z;
  }
  Tensor y = pre_activation != nullptr && activation != Activation::none ? empty_like(z) : z;
  if (pre_activation != nullptr) *pre_activation = z;
  dispatch_activation(x.dtype(), "linear",
                      [&](auto zero) { finish<decltype(zero)>(stream_, z, rest, activation, y); });
  return y;
}

// dx = dy W, dW = dy^T x, db = column sums of dy.
ConvGradients CudaBackend::linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                           Needs needs) {
  const std::int64_t rows = dy.dim(0), in = weight.dim(1), out = weight.dim(0);
  const double each = 2.0 * static_cast<double>(rows) * static_cast<double>(weight.numel());
  Scope scope(*this, "linear_backward", each * (int{needs.dx} + int{needs.dweight}),
              bytes_of({&x, &weight, &dy}) + (needs.dx ? bytes_of({&x}) : 0.0));
  ConvGradients g;
  if (needs.dx) {
    g.dx = empty({rows, in}, dy.dtype());
    if (out == 0) fill(g.dx, 0);
    const Tensor w = product_operand(weight, dy.dtype());
    if (g.dx.numel() > 0 && out > 0)
      gemm_->run({.m = rows,
                  .n = in,
                  .k = out,
                  .a = dy.raw(),
                  .b = w.raw(),
                  .c = g.dx.raw(),
                  .in = dy.dtype(),
                  .out = dy.dtype()});
  }
  if (needs.dweight) {
    g.dweight = empty({out, in}, weight.dtype());
    if (rows == 0) fill(g.dweight, 0);
    if (g.dweight.numel() > 0 && rows > 0)
      gemm_->run({.m = out,
                  .n = in,
                  .k = rows,
                  .a = dy.raw(),
                  .b = x.raw(),
                  .c = g.dweight.raw(),
                  .transpose_a = true,
                  .in = dy.dtype(),
                  .out = weight.dtype()});
  }
  if (needs.dbias) g.dbias = column_sums(*this, stream_, dy.reshape({rows, out}));
  return g;
}

// y = mask f(x), or x itself if that is all.
Tensor CudaBackend::masked_input(const Tensor& x, Activation input, const Tensor& mask) {
  if (input == Activation::relu)
    return masked_input(unary(Unary::relu, x, 0), Activation::none, mask);
  if (x.numel() == 0 || (input == Activation::none && !mask.defined())) return x;
  Tensor y = empty_like(x);
  const std::int64_t per_image = x.numel() / x.dim(0);
  dispatch_activation(x.dtype(), "masked_input", [&](auto zero) {
    using T = decltype(zero);
    const auto* m = data_or_null<const Compute<T>>(mask);
    const auto go = [&](auto kernel, int n) {
      launch("masked_input", kernel, grid_for(x.numel() / n), stream_, x.data<T>(), m, y.data<T>(),
             x.numel() / n, per_image / n);
    };
    const bool wide = packs_fit<T>(x.dim(-1), x.data<T>(), y.data<T>());
    if (input == Activation::gelu) {
      wide ? go(masked_kernel<true, kPack<T>, T>, kPack<T>) : go(masked_kernel<true, 1, T>, 1);
    } else {
      wide ? go(masked_kernel<false, kPack<T>, T>, kPack<T>) : go(masked_kernel<false, 1, T>, 1);
    }
  });
  return y;
}

Tensor CudaBackend::linear_residual(const Tensor& base, const Tensor& x, const Tensor& weight,
                                    const Tensor& bias, Activation input, const Tensor& mask) {
  const std::int64_t in = weight.dim(1), out = weight.dim(0);
  Scope scope(*this, "linear_residual", work(x, weight), bytes_of({&x, &weight, &base, &base}));
  if (base.numel() == 0) return empty_like(base);
  const std::int64_t rows = base.numel() / out;
  const Tensor branch =
      linear(masked_input(x, input, {}).reshape({rows, in}), weight, {}, Activation::none, nullptr);
  return residual_sum(base, branch, {}, bias, mask);
}

// With g = mask dy: dx = (g W) f'(x), dW = g^T f(x), db = column sums of g.
ConvGradients CudaBackend::linear_residual_backward(const Tensor& x, const Tensor& weight,
                                                    Activation input, const Tensor& mask,
                                                    const Tensor& dy, Needs needs) {
  Scope scope(*this, "linear_residual_backward",
              work(x, weight) * (int{needs.dx} + int{needs.dweight}),
              bytes_of({&x, &weight, &dy}) + (needs.dx ? bytes_of({&x}) : 0.0));
  const std::int64_t in = weight.dim(1), out = weight.dim(0);
  const std::int64_t rows = in > 0 ? x.numel() / in : dy.numel() / std::max<std::int64_t>(1, out);
  const Tensor g = masked_input(dy, Activation::none, mask).reshape({rows, out});
  const Tensor f = needs.dweight ? masked_input(x, input, {}).reshape({rows, in}) : Tensor();
  ConvGradients d = linear_backward(f, weight, g, needs);
  if (!needs.dx) return d;
  d.dx = d.dx.reshape(x.shape());
  if (input == Activation::gelu) d.dx = unary_backward(Unary::gelu, x, d.dx, 0);
  // max(x, 0) is as good as x for relu's slope.
  if (input == Activation::relu) d.dx = unary_backward(Unary::relu, x, d.dx, 0);
  return d;
}

}  // namespace nextgrad::cuda
