// Matrix products of the backend: batches of gemm(), and the linear layer with its activation in
// the epilogue, applied to each block of rows while it is in cache. Blocking: see gemm.h.
#include <algorithm>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/math.h"
#include "tensor/cpu/parallel.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {

namespace {

template <class T>
MatrixView<T> view(const T* data, std::int64_t columns, bool transposed) {
  return transposed ? MatrixView<T>{data, 1, columns} : MatrixView<T>{data, columns, 1};
}

template <class T>
void activate(Activation activation, const T* x, T* y, std::int64_t n) {
  if (activation == Activation::gelu) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) y[i] = gelu(x[i]);
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] < T{0} ? T{0} : x[i];
  }
}

// Column sums of dy [P, C], in pieces of a fixed number of rows, summed in order.
template <class T>
void column_sums(const T* dy, std::int64_t rows, std::int64_t c, T* out) {
  constexpr std::int64_t kPiece = 2048;
  const std::int64_t pieces = std::max<std::int64_t>(1, (rows + kPiece - 1) / kPiece);
  const Tensor buffer = Tensor::zeros({pieces, c}, dtype_of<T>);
  T* partial = buffer.data<T>();
  parallel_tasks(pieces, [&](std::int64_t piece) {
    T* sum = partial + piece * c;
    for (std::int64_t r = piece * kPiece; r < std::min(rows, (piece + 1) * kPiece); ++r)
      add_to(sum, dy + r * c, c);
  });
  for (std::int64_t j = 0; j < c; ++j) {
    double total = 0;
    for (std::int64_t piece = 0; piece < pieces; ++piece) total += partial[piece * c + j];
    out[j] = static_cast<T>(total);
  }
}

}  // namespace

Tensor sum_columns(const Tensor& dy) {
  const std::int64_t c = dy.dim(-1);
  Tensor out = Tensor::empty({c}, dy.dtype());
  dispatch_float(dy.dtype(), "sum_columns", [&](auto tag) {
    using T = decltype(tag);
    column_sums(dy.data<T>(), c > 0 ? dy.numel() / c : 0, c, out.data<T>());
  });
  return out;
}

Tensor CpuBackend::matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const std::int64_t m = a.dim(transpose_a ? 2 : 1), k = a.dim(transpose_a ? 1 : 2);
  const std::int64_t n = b.dim(transpose_b ? 1 : 2);
  const std::int64_t batch = std::max(a.dim(0), b.dim(0));
  Tensor c = Tensor::empty({batch, m, n}, a.dtype());
  const double size = static_cast<double>(size_of(a.dtype()));
  OpScope scope("matmul", 2.0 * static_cast<double>(batch * m * n * k),
                size * static_cast<double>(a.numel() + b.numel() + c.numel()));
  dispatch_float(a.dtype(), "matmul", [&](auto tag) {
    using T = decltype(tag);
    for (std::int64_t i = 0; i < batch; ++i)
      gemm<T>(m, n, k, view(a.data<T>() + (a.dim(0) > 1 ? i * m * k : 0), a.dim(2), transpose_a),
              view(b.data<T>() + (b.dim(0) > 1 ? i * k * n : 0), b.dim(2), transpose_b), nullptr,
              c.data<T>() + i * m * n, n);
  });
  return c;
}

Tensor CpuBackend::linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                          Activation activation, Tensor* pre_activation) {
  const std::int64_t m = x.dim(0), k = x.dim(1), n = weight.dim(0);
  Tensor y = Tensor::empty({m, n}, x.dtype());
  OpScope scope(
      "linear", 2.0 * static_cast<double>(m * n * k),
      static_cast<double>(size_of(x.dtype())) *
          static_cast<double>(x.numel() + weight.numel() + y.numel() * (pre_activation ? 2 : 1)));
  if (pre_activation) *pre_activation = Tensor::empty({m, n}, x.dtype());
  dispatch_float(x.dtype(), "linear", [&](auto tag) {
    using T = decltype(tag);
    T* out = y.data<T>();
    T* pre = pre_activation ? pre_activation->data<T>() : out;
    std::function<void(std::int64_t, std::int64_t)> finish;
    if (activation != Activation::none)
      finish = [=](std::int64_t row, std::int64_t rows) {
        activate(activation, pre + row * n, out + row * n, rows * n);
      };
    gemm<T>(m, n, k, {x.data<T>(), k, 1}, {weight.data<T>(), 1, k},
            bias.defined() ? bias.data<T>() : nullptr, pre, n, finish);
    if (pre_activation && activation == Activation::none) std::copy_n(pre, m * n, out);
  });
  return y;
}

ConvGradients CpuBackend::linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                          Needs needs) {
  const std::int64_t m = dy.dim(0), k = weight.dim(1), n = weight.dim(0);
  const int products = (needs.dx ? 1 : 0) + (needs.dweight ? 1 : 0);
  OpScope scope("linear backward", 2.0 * products * static_cast<double>(m * n * k),
                static_cast<double>(size_of(dy.dtype())) *
                    static_cast<double>(dy.numel() + (products > 0 ? products : 0) * m * k));
  ConvGradients g;
  dispatch_float(dy.dtype(), "linear", [&](auto tag) {
    using T = decltype(tag);
    if (needs.dx) {
      g.dx = Tensor::empty({m, k}, dy.dtype());
      gemm<T>(m, k, n, {dy.data<T>(), n, 1}, {weight.data<T>(), k, 1}, nullptr, g.dx.data<T>(), k);
    }
    if (needs.dweight) {
      g.dweight = Tensor::empty({n, k}, dy.dtype());
      gemm<T>(n, k, m, {dy.data<T>(), 1, n}, {x.data<T>(), k, 1}, nullptr, g.dweight.data<T>(), k);
    }
  });
  if (needs.dbias) g.dbias = sum_columns(dy);
  return g;
}

}  // namespace nextgrad::cpu
