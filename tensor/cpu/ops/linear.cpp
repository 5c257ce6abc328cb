// Linear layers: products with an activation before or after, a residual connection, and their
// gradients, all inside gemm()'s blocks of rows, while these are in cache. Blocking: see gemm.h.
#include <algorithm>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/ops.h"

namespace nextgrad::cpu {

namespace {

struct Activated;
struct Masked;

// y = f(x); f is not none.
template <Unary f, class T>
void activate_with(const T* x, T* y, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = UnaryOp<f, Math, T>::value(x[i], T(0));
}
template <class T>
void activate(Activation f, const T* x, T* y, std::int64_t n) {
  if (f == Activation::gelu) return activate_with<Unary::gelu>(x, y, n);
  activate_with<Unary::relu>(x, y, n);
}

// dy *= f'(x); of ReLU, whose slope reads y, x tells the same.
template <Unary f, class T>
void gradient_with(const T* __restrict x, T* __restrict dy, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) dy[i] = UnaryOp<f, Math, T>::gradient(x[i], dy[i], T(0));
}
template <class T>
void activation_gradient(Activation f, const T* x, T* dy, std::int64_t n) {
  if (f == Activation::gelu) return gradient_with<Unary::gelu>(x, dy, n);
  gradient_with<Unary::relu>(x, dy, n);
}

// Rows of f(x), x [P,C].
template <class T>
RowBlocks<T> activated_rows(Activation f, const T* x, std::int64_t c) {
  if (f == Activation::none) return rows_of<T>({x, c, 1});
  return [=](std::int64_t first, std::int64_t rows) {
    T* out = scratch<Activated, T>(rows * c);
    activate(f, x + first * c, out, rows * c);
    return MatrixView<T>{out, c, 1};
  };
}

template <class T>
void scale_row(const T* __restrict x, T factor, T* __restrict y, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = factor * x[i];
}

// y *= by.
template <class T>
void multiply_to(T* __restrict y, const T* __restrict by, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] *= by[i];
}
// y += scale base.
template <class T>
void add_scaled_row(const T* __restrict scale, const T* __restrict base, T* __restrict y,
                    std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] += scale[i] * base[i];
}

// Rows of mask[image] x, x [N,pixels,C]; mask may be null.
template <class T>
RowBlocks<T> masked_rows(const T* mask, std::int64_t pixels, const T* x, std::int64_t c) {
  if (mask == nullptr) return rows_of<T>({x, c, 1});
  return [=](std::int64_t first, std::int64_t rows) {
    T* out = scratch<Masked, T>(rows * c);
    for (std::int64_t r = 0; r < rows; ++r)
      scale_row(x + (first + r) * c, mask[(first + r) / pixels], out + r * c, c);
    return MatrixView<T>{out, c, 1};
  };
}

// The gradients of f(x) W^T + bias, that of the bias beside the weight's only; rows of dy come
// scaled by their image's mask.
template <class T>
ConvGradients gradients(const Shape& x_shape, const T* x, const Tensor& weight, const Tensor& dy,
                        const RowBlocks<T>& dy_rows, Activation input, Needs needs) {
  const std::int64_t k = weight.dim(1), n = weight.dim(0);
  const std::int64_t m = k > 0 ? x_shape.numel() / k : n > 0 ? dy.numel() / n : 0;
  ConvGradients g;
  if (needs.dx) {
    g.dx = Tensor::empty(x_shape, dy.dtype());
    T* dx = g.dx.data<T>();
    RowsDone finish;
    if (input != Activation::none)
      finish = [=](std::int64_t first, std::int64_t rows) {
        activation_gradient(input, x + first * k, dx + first * k, rows * k);
      };
    const Tensor panels = packed_weight<T>(weight);
    gemm<T>(m, k, n, dy_rows, panels.data<T>(), nullptr, dx, k, finish);
  }
  if (needs.dweight) {
    g.dweight = Tensor::empty({n, k}, dy.dtype());
    if (needs.dbias) g.dbias = Tensor::empty({n}, dy.dtype());
    gemm_over_pixels<T>(n, k, m, dy_rows, activated_rows(input, x, k), g.dweight.data<T>(),
                        data_or_null<T>(g.dbias));
  }
  return g;
}

// Of m rows, images by the mask's; at least 1.
std::int64_t rows_per_image(const Tensor& mask, std::int64_t m) {
  return std::max<std::int64_t>(1,
                                m / std::max<std::int64_t>(1, mask.defined() ? mask.numel() : 1));
}

}  // namespace

Tensor CpuBackend::linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                          Activation activation, Tensor* pre_activation) {
  const std::int64_t m = x.dim(0), k = x.dim(1), n = weight.dim(0);
  Tensor y = Tensor::empty({m, n}, x.dtype());
  OpScope scope(costs::linear(x, weight, pre_activation));
  if (pre_activation) *pre_activation = Tensor::empty({m, n}, x.dtype());
  dispatch_float(x.dtype(), "linear", [&]<class T>(T) {
    T* out = y.data<T>();
    T* pre = pre_activation ? pre_activation->data<T>() : out;
    RowsDone finish;
    if (activation != Activation::none)
      finish = [=](std::int64_t row, std::int64_t rows) {
        activate(activation, pre + row * n, out + row * n, rows * n);
      };
    const Tensor panels = packed_transpose<T>(weight);
    gemm<T>(m, n, k, rows_of<T>({x.data<T>(), k, 1}), panels.data<T>(), data_or_null<const T>(bias),
            pre, n, finish);
    if (pre_activation && activation == Activation::none) std::copy_n(pre, m * n, out);
  });
  return y;
}

Tensor CpuBackend::linear_gate(const Tensor& gate, const Tensor& x, const Tensor& weight,
                               const Tensor& bias) {
  const std::int64_t m = x.dim(0), k = x.dim(1), n = weight.dim(0);
  Tensor y = Tensor::empty({m, n}, x.dtype());
  OpScope scope(costs::linear_gate(x, weight));
  dispatch_float(x.dtype(), "linear_gate", [&]<class T>(T) {
    T* out = y.data<T>();
    const RowsDone finish = [=, by = gate.data<T>()](std::int64_t first, std::int64_t rows) {
      multiply_to(out + first * n, by + first * n, rows * n);
    };
    const Tensor panels = packed_transpose<T>(weight);
    gemm<T>(m, n, k, rows_of<T>({x.data<T>(), k, 1}), panels.data<T>(), data_or_null<const T>(bias),
            out, n, finish);
  });
  return y;
}

ConvGradients CpuBackend::linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                          Needs needs, const Tensor& onto) {
  const std::int64_t m = dy.dim(0), n = weight.dim(0), k = weight.dim(1);
  OpScope scope(costs::product_backward("linear_backward", weight, dy, needs, onto));
  ConvGradients g;
  dispatch_float(dy.dtype(), "linear", [&]<class T>(T) {
    const RowBlocks<T> rows_of_dy = rows_of<T>({dy.data<T>(), n, 1});
    g = gradients<T>({m, k}, data_or_null<const T>(x), weight, dy, rows_of_dy, Activation::none,
                     needs);
  });
  if (onto.defined()) g.dx.add_(onto);
  if (needs.dbias && !needs.dweight) g.dbias = sum_to(dy, {n});
  return g;
}

Tensor CpuBackend::linear_residual(const Tensor& on, const Tensor& x, const LinearBranch& b,
                                   Tensor* moments, const Tensor& base_scale) {
  if (base_scale.defined() && (b.mask.defined() || b.extra.defined()))
    return Fused::linear_residual(on, x, b, moments, base_scale);
  const auto& [weight, bias, input, s, mask, extra] = b;
  const std::int64_t n = weight.dim(0), k = weight.dim(1), m = n > 0 ? on.numel() / n : 0;
  const std::int64_t pixels = rows_per_image(mask, m);
  Tensor y = Tensor::empty(on.shape(), x.dtype());
  OpScope scope(costs::linear_residual(x, b));
  const Tensor base = extra.defined() ? residual(on, extra, s, mask) : on;
  const ScaledRows by_scale = scale_rows(weight, bias, s);
  dispatch_float(x.dtype(), "linear_residual", [&]<class T>(T) {
    T* out = y.data<T>();
    const T *from = base.data<T>(), *factor = data_or_null<const T>(mask);
    const T* scale = data_or_null<const T>(base_scale);
    const RowsDone finish = [=](std::int64_t first, std::int64_t rows) {
      if (factor == nullptr && scale == nullptr)
        return add_to(out + first * n, from + first * n, rows * n);
      for (std::int64_t r = first; r < first + rows; ++r)
        if (scale == nullptr)
          add_row(from + r * n, factor[r / pixels], out + r * n, n);
        else
          add_scaled_row(scale, from + r * n, out + r * n, n);
    };
    const Tensor panels = packed_transpose<T>(by_scale.weight);
    gemm<T>(m, n, k, activated_rows(input, x.data<T>(), k), panels.data<T>(),
            data_or_null<const T>(by_scale.bias), out, n, finish);
  });
  return y;
}

LinearResidualGradients CpuBackend::linear_residual_backward(const Tensor& x, const LinearBranch& b,
                                                             const Tensor& dy, Needs needs,
                                                             bool needs_ds) {
  needs = with_scale(needs, b.bias, needs_ds);
  const Tensor &weight = b.weight, &mask = b.mask;
  const std::int64_t n = weight.dim(0), m = n > 0 ? dy.numel() / n : 0;
  const std::int64_t pixels = rows_per_image(mask, m);
  OpScope scope(costs::linear_residual_backward(b, dy, needs));
  ConvGradients g;
  dispatch_float(dy.dtype(), "linear_residual", [&]<class T>(T) {
    const RowBlocks<T> rows = masked_rows<T>(data_or_null<const T>(mask), pixels, dy.data<T>(), n);
    needs.dweight |= needs.dbias;  // its blocks are where the bias gradient is summed
    g = gradients<T>(x.shape(), x.data<T>(), scale_rows(weight, {}, b.s).weight, dy, rows, b.input,
                     needs);
  });
  return with_extra(through_scale(b, g, needs_ds), b, dy, needs_ds);
}

}  // namespace nextgrad::cpu
