// Convolution as matrix products on patches, made 96 pixels at a time (patches.h). The weight
// gradient makes its patches the same way.
//
// The input gradient is a convolution too, of dy with the transposed weight. With a stride, which
// taps reach a pixel depends only on its residues (y mod stride_h, x mod stride_w); along one axis,
// for 3 taps at stride 2 and padding 1:
//
//      dy   o       o       o       even x: one tap (kx = 1), of the dy above it
//           |\     /|\     /|
//      dx   e   o   e   o   e       odd x:  two taps (kx = 2, 0), of the two dy beside it
//
// So each class of pixels is a product of its own, patches of dy times the class's taps of the
// weight, together with not one multiplication more than the forward pass has, and each pixel of dx
// is written once. (Columns dy W, to be summed into dx, are kh kw / stride^2 times as many numbers,
// and went through memory.)
#include <algorithm>
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/kit/patches.h"
#include "tensor/extents.h"
#include "tensor/ops.h"

namespace nextgrad::cpu {

namespace {

// Numbers of the input gradient in cache before they are placed.
constexpr std::int64_t kProducts = 131072;

// The patches that the forward pass multiplies, [kh][kw][I / groups].
PatchGrid forward_grid(const ConvShape& s, int group) {
  const Window& k = s.window;
  PatchGrid g{.h = s.h,
              .w = s.w,
              .channels = s.in,
              .channel = group * s.group_in(),
              .depth = s.group_in(),
              .rows = s.oh,
              .cols = s.ow,
              .stride_h = k.stride_h,
              .stride_w = k.stride_w};
  for (std::int64_t ky = 0; ky < k.kh; ++ky) g.ys.push_back(ky * k.dilation_h - k.pad_h);
  for (std::int64_t kx = 0; kx < k.kw; ++kx) g.xs.push_back(kx * k.dilation_w - k.pad_w);
  return g;
}

template <class T>
void forward(const ConvShape& s, const T* x, const Tensor& weight, const T* bias, T* y) {
  const std::int64_t k = s.patch(), n = s.group_out();
  const auto pack = [&] {
    std::vector<Tensor> of_groups;
    for (int g = 0; g < s.groups; ++g)
      of_groups.push_back(packed<T>({weight.data<T>() + g * n * k, 1, k}, k, n));
    return of_groups;
  };
  const std::vector<Tensor> panels = derived("conv2d", {weight}, Keep::from_third_call, pack);
  for (int g = 0; g < s.groups; ++g) {
    const PatchGrid grid = forward_grid(s, g);
    gemm<T>(s.pixels(), n, k, patch_rows(grid, x), panels[static_cast<std::size_t>(g)].data<T>(),
            bias ? bias + g * n : nullptr, y + g * n, s.out);
  }
}

// The taps that reach the pixels of one residue along one axis: pixel residue + j * stride takes
// tap[i] times dy[j + from[i]]. `from` ascends.
struct AxisTaps {
  std::int64_t residue, pixels;
  std::vector<std::int64_t> tap = {}, from = {};
  AxisTaps(std::int64_t r, std::int64_t size, int taps, int stride, int pad, int dilation)
      : residue(r), pixels((size - r + stride - 1) / stride) {
    for (std::int64_t k = taps - 1; k >= 0; --k) {
      const std::int64_t at = r + pad - k * dilation;
      if (at % stride != 0) continue;
      tap.push_back(k);
      from.push_back(at / stride);
    }
  }
};

// The patches of dy for one class of pixels, [taps][O / groups].
PatchGrid backward_grid(const ConvShape& s, int group, const AxisTaps& ys, const AxisTaps& xs) {
  return {.h = s.oh,
          .w = s.ow,
          .channels = s.out,
          .channel = group * s.group_out(),
          .depth = s.group_out(),
          .rows = ys.pixels,
          .cols = xs.pixels,
          .ys = ys.from,
          .xs = xs.from};
}

// The class's taps of the weight: [taps][O / groups][I / groups].
template <class T>
void class_weight(const ConvShape& s, const AxisTaps& ys, const AxisTaps& xs, const T* weight,
                  T* to) {
  const std::int64_t c = s.group_in(), n = s.group_out();
  for (const std::int64_t ky : ys.tap)
    for (const std::int64_t kx : xs.tap) {
      copy_runs(weight + (ky * s.window.kw + kx) * c, s.patch(), n, c, to, c);
      to += n * c;
    }
}

// Products [pixels][I / groups] of the class's pixels from `first` on, to their places in dx.
template <class T>
void place(const ConvShape& s, int group, const AxisTaps& ys, const AxisTaps& xs, const T* products,
           std::int64_t first, std::int64_t count, T* dx) {
  const std::int64_t c = s.group_in();
  const auto row = [&](const Pixel& p, std::int64_t done, std::int64_t n) {
    const std::int64_t y = ys.residue + p.row * s.window.stride_h;
    const std::int64_t x = xs.residue + p.col * s.window.stride_w;
    copy_runs(products + done * c, c, n, c, dx + ((p.image * s.h + y) * s.w + x) * s.in + group * c,
              s.window.stride_w * s.in);
  };
  for_rows(ys.pixels, xs.pixels, first, count, row);
}

// dx of one class of pixels and one group.
template <class T>
void input_gradient_of(const ConvShape& s, int group, const AxisTaps& ys, const AxisTaps& xs,
                       const T* dy, const T* weight, T* dx) {
  if (s.in == 0) return;
  const PatchGrid grid = backward_grid(s, group, ys, xs);
  const RowBlocks<T> patches = patch_rows(grid, dy);
  const std::int64_t c = s.group_in(), pixels = s.n * ys.pixels * xs.pixels;
  const std::int64_t most = std::min(pixels, std::max<std::int64_t>(kRowBlock, kProducts / c));
  const Tensor taps = Tensor::empty({grid.size() * c}, dtype_of<T>);
  const Tensor buffer = Tensor::empty({most * c}, dtype_of<T>);
  T* products = buffer.data<T>();
  class_weight(s, ys, xs, weight + group * s.group_out() * s.patch(), taps.data<T>());
  const Tensor panels = packed<T>({taps.data<T>(), c, 1}, grid.size(), c);
  for (std::int64_t begin = 0; begin < pixels; begin += most) {
    const auto block = [&](std::int64_t first, std::int64_t rows) {
      return patches(begin + first, rows);
    };
    const auto done = [&](std::int64_t first, std::int64_t rows) {
      place(s, group, ys, xs, products + first * c, begin + first, rows, dx);
    };
    gemm<T>(std::min(most, pixels - begin), c, grid.size(), block, panels.data<T>(), nullptr,
            products, c, done);
  }
}

template <class T>
void input_gradient(const ConvShape& s, const T* dy, const T* weight, T* dx) {
  const Window& k = s.window;
  for (std::int64_t ry = 0; ry < std::min<std::int64_t>(k.stride_h, s.h); ++ry)
    for (std::int64_t rx = 0; rx < std::min<std::int64_t>(k.stride_w, s.w); ++rx) {
      const AxisTaps ys(ry, s.h, k.kh, k.stride_h, k.pad_h, k.dilation_h);
      const AxisTaps xs(rx, s.w, k.kw, k.stride_w, k.pad_w, k.dilation_w);
      for (int g = 0; g < s.groups; ++g) input_gradient_of(s, g, ys, xs, dy, weight, dx);
    }
}

template <class T>
void weight_gradient(const ConvShape& s, const T* x, const T* dy, T* dweight, T* dbias) {
  const std::int64_t k = s.patch(), n = s.group_out();
  for (int g = 0; g < s.groups; ++g) {
    const PatchGrid grid = forward_grid(s, g);
    gemm_over_pixels<T>(n, k, s.pixels(), rows_of<T>({dy + g * n, s.out, 1}), patch_rows(grid, x),
                        dweight + g * n * k, dbias ? dbias + g * n : nullptr);
  }
}

}  // namespace

Tensor CpuPrimitives::conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const Window& window, int groups) {
  const ConvShape s = conv_shape(x.shape(), weight.shape(), window, groups);
  Tensor y = Tensor::empty({s.n, s.oh, s.ow, s.out}, x.dtype());
  OpScope scope(costs::conv2d(x, weight, y));
  dispatch_float(x.dtype(), "conv2d", [&]<class T>(T) {
    forward<T>(s, x.data<T>(), weight, data_or_null<const T>(bias), y.data<T>());
  });
  return y;
}

ConvGradients CpuPrimitives::conv2d_backward(const Tensor& x, const Tensor& weight,
                                             const Tensor& dy, const Window& window, int groups,
                                             Needs needs) {
  const ConvShape s = conv_shape(x.shape(), weight.shape(), window, groups);
  OpScope scope(costs::conv2d_backward(x, weight, dy, needs));
  ConvGradients g = empty_conv_gradients(x, weight, dy, needs);
  dispatch_float(x.dtype(), "conv2d", [&]<class T>(T) {
    if (needs.dx) input_gradient<T>(s, dy.data<T>(), weight.data<T>(), g.dx.data<T>());
    if (needs.dweight)
      weight_gradient<T>(s, x.data<T>(), dy.data<T>(), g.dweight.data<T>(),
                         data_or_null<T>(g.dbias));
  });
  if (needs.dbias && !needs.dweight) g.dbias = sum_to(dy, {s.out});
  return g;
}

}  // namespace nextgrad::cpu
