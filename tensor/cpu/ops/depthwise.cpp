// Depth-wise convolution. Of any window, plainly: a pixel's channels are the inner loop, threads
// share the rows, for dx blocks of channels (rows of dx take from several rows of dy). What models
// spend time in has kernels of its own: 3x3 and 5x5 of stride 1 (depthwise_square.cpp) and
// strips (strips_forward.cpp).
#include "tensor/cpu/ops/depthwise.h"

#include <algorithm>
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/simd.h"

namespace nextgrad::cpu {

namespace {

constexpr std::int64_t kBlock = 32;   // channels of a task of dx
constexpr std::int64_t kGroups = 64;  // of output rows, each of which sums dweight up

// The outputs of one axis that see the input through one tap: [first, last); output o sees
// input o stride + shift.
struct Seen {
  std::int64_t first, last, shift;
  Seen(int tap, int stride, int pad, int dilation, std::int64_t in, std::int64_t out)
      : shift(std::int64_t{tap} * dilation - pad) {
    first = shift < 0 ? (-shift + stride - 1) / stride : 0;
    last = in > shift ? std::min(out, (in - shift - 1) / stride + 1) : 0;
  }
};
Seen seen_rows(const DepthwiseShape& s, int ky) {
  const Window& k = s.window;
  return {ky, k.stride_h, k.pad_h, k.dilation_h, s.h, s.oh};
}
Seen seen_columns(const DepthwiseShape& s, int kx) {
  const Window& k = s.window;
  return {kx, k.stride_w, k.pad_w, k.dilation_w, s.w, s.ow};
}

// to += a b
template <class T>
void multiply_add(const T* __restrict a, const T* __restrict b, T* __restrict to, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] += a[i] * b[i];
}

// Calls fn(output, input, tap) for the pixels of output row oy of an image and all they see.
template <class Fn>
void for_products(const DepthwiseShape& s, std::int64_t image, std::int64_t oy, Fn&& fn) {
  const Window& k = s.window;
  for (int ky = 0; ky < k.kh; ++ky) {
    const Seen rows = seen_rows(s, ky);
    if (oy < rows.first || oy >= rows.last) continue;
    for (int kx = 0; kx < k.kw; ++kx) {
      const Seen columns = seen_columns(s, kx);
      const std::int64_t in = (image * s.h + oy * k.stride_h + rows.shift) * s.w + columns.shift;
      for (std::int64_t ox = columns.first; ox < columns.last; ++ox)
        fn((image * s.oh + oy) * s.ow + ox, in + ox * k.stride_w, ky * k.kw + kx);
    }
  }
}

// y = base + x * weight + bias; bias and base may be null.
template <class T>
void depthwise_forward(const DepthwiseShape& s, const T* x, const T* weight, const T* bias,
                       const T* base, T* y) {
  const std::int64_t c = s.c;
  parallel_tasks(s.n * s.oh, [&](std::int64_t row) {
    for (std::int64_t p = row * s.ow; p < (row + 1) * s.ow; ++p) {
      if (base != nullptr) std::copy_n(base + p * c, c, y + p * c);
      if (base == nullptr) std::fill_n(y + p * c, c, T{0});
      if (bias != nullptr) add_to(y + p * c, bias, c);
    }
    for_products(s, row / s.oh, row % s.oh, [&](std::int64_t out, std::int64_t in, int tap) {
      multiply_add(x + in * c, weight + tap * c, y + out * c, c);
    });
  });
}

// dx of a window of any stride.
template <class T>
void depthwise_input_gradient(const DepthwiseShape& s, const T* dy, const T* weight, T* dx) {
  const std::int64_t c = s.c, blocks = (c + kBlock - 1) / kBlock;
  std::fill_n(dx, s.n * s.h * s.w * c, T{0});
  parallel_tasks(s.n * blocks, [&](std::int64_t task) {
    const std::int64_t first = task % blocks * kBlock, count = std::min(kBlock, c - first);
    for (std::int64_t oy = 0; oy < s.oh; ++oy)
      for_products(s, task / blocks, oy, [&](std::int64_t out, std::int64_t in, int tap) {
        multiply_add(dy + out * c + first, weight + tap * c + first, dx + in * c + first, count);
      });
  });
}

// dweight [kh,kw,C] and dbias [C] (either may be null).
template <class T>
void depthwise_weight_gradient(const DepthwiseShape& s, const T* x, const T* dy, T* dweight,
                               T* dbias) {
  // Sums [taps + 1][C], the bias last: of a row in T, of a group of rows in double.
  const std::int64_t c = s.c, rows = s.n * s.oh, size = (s.taps() + 1) * c;
  const std::int64_t group = (rows + kGroups - 1) / kGroups;
  const Tensor buffer = Tensor::zeros({kGroups, size}, DType::f64);
  double* partial = buffer.data<double>();
  parallel_tasks(kGroups, [&](std::int64_t g) {
    std::vector<T> sums(size);
    for (std::int64_t row = g * group; row < std::min(rows, (g + 1) * group); ++row) {
      std::fill(sums.begin(), sums.end(), T{0});
      for_products(s, row / s.oh, row % s.oh, [&](std::int64_t out, std::int64_t in, int tap) {
        multiply_add(x + in * c, dy + out * c, sums.data() + tap * c, c);
      });
      for (std::int64_t p = row * s.ow; p < (row + 1) * s.ow; ++p)
        add_to(sums.data() + s.taps() * c, dy + p * c, c);
      add_to(partial + g * size, sums.data(), size);
    }
  });
  for (std::int64_t g = 1; g < kGroups; ++g) add_to(partial, partial + g * size, size);
  if (dweight != nullptr) std::copy_n(partial, s.taps() * c, dweight);
  if (dbias != nullptr) std::copy_n(partial + s.taps() * c, c, dbias);
}

}  // namespace

Tensor CpuPrimitives::depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& base, const Window& window) {
  const DepthwiseShape s = depthwise_shape(x, window);
  Tensor y = Tensor::empty({s.n, s.oh, s.ow, s.c}, x.dtype());
  OpScope scope(costs::depthwise(x, window, y, base));
  dispatch_float(x.dtype(), "depthwise", [&]<class T>(T) {
    const auto forward =
        depthwise_square_fits<T>(s) ? depthwise_square_forward<T> : depthwise_forward<T>;
    forward(s, x.data<T>(), weight.data<T>(), data_or_null<const T>(bias),
            data_or_null<const T>(base), y.data<T>());
  });
  return y;
}

ConvGradients CpuPrimitives::depthwise_backward(const Tensor& x, const Tensor& weight,
                                                const Tensor& dy, const Window& window,
                                                Needs needs, const Tensor& onto) {
  const DepthwiseShape s = depthwise_shape(x, window);
  OpScope scope(costs::depthwise_backward(x, window, dy, needs, onto));
  ConvGradients g = empty_conv_gradients(x, weight, dy, needs);
  dispatch_float(x.dtype(), "depthwise", [&]<class T>(T) {
    T *dx = data_or_null<T>(g.dx), *dweight = data_or_null<T>(g.dweight);
    T* dbias = data_or_null<T>(g.dbias);
    if (depthwise_square_fits<T>(s))
      return depthwise_square_backward<T>(s, x.data<T>(), weight.data<T>(), dy.data<T>(), dx,
                                          dweight, dbias);
    if (dx) depthwise_input_gradient<T>(s, dy.data<T>(), weight.data<T>(), dx);
    if (dweight || dbias)
      depthwise_weight_gradient<T>(s, x.data<T>(), dy.data<T>(), dweight, dbias);
  });
  if (onto.defined()) g.dx.add_(onto);
  return g;
}

}  // namespace nextgrad::cpu
