// The backend's depth-wise convolution; kernels and their blocking are in depthwise_kernels.cpp.
#include "tensor/cpu/ops/depthwise.h"

#include <fmt/format.h>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {

namespace {

DepthwiseShape shape_of(const Shape& x, const Window& window) {
  return {x[0], x[1], x[2], x[3], window.out_h(x[1]), window.out_w(x[2]), window};
}

double flops(const DepthwiseShape& s) {
  return 2.0 * static_cast<double>(s.n * s.oh * s.ow * s.c * s.taps());
}

}  // namespace

Tensor CpuBackend::depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const Tensor& base, const Window& window) {
  const DepthwiseShape s = shape_of(x.shape(), window);
  Tensor y = Tensor::empty({s.n, s.oh, s.ow, s.c}, x.dtype());
  OpScope scope(Profile::active() ? fmt::format("depthwise {}x{}", window.kh, window.kw) : "",
                flops(s), static_cast<double>(x.nbytes() + y.nbytes() * (base.defined() ? 2 : 1)));
  dispatch_float(x.dtype(), "depthwise", [&](auto tag) {
    using T = decltype(tag);
    const auto forward =
        depthwise_square_fits<T>(s) ? depthwise_square_forward<T> : depthwise_forward<T>;
    forward(s, x.data<T>(), weight.data<T>(), bias.defined() ? bias.data<T>() : nullptr,
            base.defined() ? base.data<T>() : nullptr, y.data<T>());
  });
  return y;
}

ConvGradients CpuBackend::depthwise_backward(const Tensor& x, const Tensor& weight,
                                             const Tensor& dy, const Window& window, Needs needs) {
  const DepthwiseShape s = shape_of(x.shape(), window);
  const int products = (needs.dx ? 1 : 0) + (needs.dweight || needs.dbias ? 1 : 0);
  OpScope scope(
      Profile::active() ? fmt::format("depthwise {}x{} backward", window.kh, window.kw) : "",
      products * flops(s), static_cast<double>(dy.nbytes() + products * x.nbytes()));
  ConvGradients g;
  if (needs.dx) g.dx = Tensor::empty(x.shape(), x.dtype());
  if (needs.dweight) g.dweight = Tensor::empty(weight.shape(), x.dtype());
  if (needs.dbias) g.dbias = Tensor::empty({s.c}, x.dtype());
  dispatch_float(x.dtype(), "depthwise", [&](auto tag) {
    using T = decltype(tag);
    T* dx = needs.dx ? g.dx.data<T>() : nullptr;
    T* dweight = needs.dweight ? g.dweight.data<T>() : nullptr;
    T* dbias = needs.dbias ? g.dbias.data<T>() : nullptr;
    if (depthwise_square_fits<T>(s))
      return depthwise_square_backward<T>(s, x.data<T>(), weight.data<T>(), dy.data<T>(), dx,
                                          dweight, dbias);
    if (dx) depthwise_input_gradient<T>(s, dy.data<T>(), weight.data<T>(), dx);
    if (dweight || dbias)
      depthwise_weight_gradient<T>(s, x.data<T>(), dy.data<T>(), dweight, dbias);
  });
  return g;
}

}  // namespace nextgrad::cpu
