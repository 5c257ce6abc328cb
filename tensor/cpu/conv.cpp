// Convolution as matrix products on patches ("im2col"), 96 output pixels at a time: the patches of
// a block [96][kh kw I] live in L2 and never exist as a whole. The weight gradient makes its
// patches the same way; the input gradient gathers from dy W, one image at a time, so that no two
// threads write the same pixel.
#include <algorithm>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {

namespace {

struct PatchScratch;

struct ConvShape {
  std::int64_t n, h, w, in, oh, ow, out;
  Window window;
  int groups;
  std::int64_t group_in() const { return in / groups; }
  std::int64_t group_out() const { return out / groups; }
  std::int64_t patch() const { return std::int64_t{window.kh} * window.kw * group_in(); }
  std::int64_t pixels() const { return n * oh * ow; }
  double flops() const { return 2.0 * static_cast<double>(pixels() * out * patch()); }
};

// The patch of output pixel (image, oy, ox), channels of one group: [kh][kw][I / groups].
template <class T>
void patch(const ConvShape& s, const T* image, std::int64_t oy, std::int64_t ox,
           std::int64_t channel, T* out) {
  const Window& k = s.window;
  const std::int64_t c = s.group_in(), x0 = ox * k.stride_w - k.pad_w;
  const bool whole_rows =
      s.groups == 1 && k.dilation_w == 1 && x0 >= 0 && x0 + k.kw <= s.w;  // one run of kw * I
  for (int ky = 0; ky < k.kh; ++ky) {
    const std::int64_t y = oy * k.stride_h - k.pad_h + ky * k.dilation_h;
    if (y < 0 || y >= s.h) {
      out = std::fill_n(out, k.kw * c, T{0});
      continue;
    }
    const T* row = image + y * s.w * s.in + channel;
    if (whole_rows) {
      out = std::copy_n(row + x0 * s.in, k.kw * c, out);
      continue;
    }
    for (int kx = 0; kx < k.kw; ++kx) {
      const std::int64_t x = x0 + kx * k.dilation_w;
      out = x < 0 || x >= s.w ? std::fill_n(out, c, T{0}) : std::copy_n(row + x * s.in, c, out);
    }
  }
}

// Patches of output pixels [begin, end) over the whole batch.
template <class T>
void patches(const ConvShape& s, const T* x, int group, std::int64_t begin, std::int64_t end,
             T* out) {
  for (std::int64_t p = begin; p < end; ++p, out += s.patch())
    patch(s, x + p / (s.oh * s.ow) * s.h * s.w * s.in, p / s.ow % s.oh, p % s.ow,
          group * s.group_in(), out);
}

// Blocks of patches, made in scratch memory.
template <class T>
RowBlocks<T> patch_rows(const ConvShape& s, const T* x, int group) {
  return [&s, x, group](std::int64_t first, std::int64_t rows) {
    T* block = scratch<PatchScratch, T>(rows * s.patch());
    patches(s, x, group, first, first + rows, block);
    return MatrixView<T>{block, s.patch(), 1};
  };
}

template <class T>
void forward(const ConvShape& s, const T* x, const T* weight, const T* bias, T* y) {
  const std::int64_t k = s.patch(), n = s.group_out();
  for (int g = 0; g < s.groups; ++g)
    gemm<T>(s.pixels(), n, k, patch_rows(s, x, g), {weight + g * n * k, 1, k},
            bias ? bias + g * n : nullptr, y + g * n, s.out);
}

// dx of one image and group from columns = dy W [OH*OW][kh][kw][I / groups].
template <class T>
void gather_columns(const ConvShape& s, const T* columns, std::int64_t channel, T* dx) {
  const Window& k = s.window;
  const std::int64_t c = s.group_in();
  parallel_for(s.h, 1, [&](std::int64_t y0, std::int64_t y1) {
    for (std::int64_t y = y0; y < y1; ++y)
      for (std::int64_t x = 0; x < s.w; ++x) {
        T* to = dx + (y * s.w + x) * s.in + channel;
        std::fill_n(to, c, T{0});
        for (int ky = 0; ky < k.kh; ++ky) {
          const std::int64_t oy = y + k.pad_h - ky * k.dilation_h;
          if (oy < 0 || oy % k.stride_h != 0 || oy / k.stride_h >= s.oh) continue;
          for (int kx = 0; kx < k.kw; ++kx) {
            const std::int64_t ox = x + k.pad_w - kx * k.dilation_w;
            if (ox < 0 || ox % k.stride_w != 0 || ox / k.stride_w >= s.ow) continue;
            const T* from = columns + (oy / k.stride_h * s.ow + ox / k.stride_w) * s.patch() +
                            (ky * k.kw + kx) * c;
            add_to(to, from, c);
          }
        }
      }
  });
}

template <class T>
void input_gradient(const ConvShape& s, const T* dy, const T* weight, T* dx) {
  const std::int64_t k = s.patch(), n = s.group_out(), pixels = s.oh * s.ow;
  const Tensor buffer = Tensor::empty({pixels * k}, dtype_of<T>);
  T* columns = buffer.data<T>();
  for (std::int64_t image = 0; image < s.n; ++image)
    for (int g = 0; g < s.groups; ++g) {
      gemm<T>(pixels, k, n, rows_of<T>({dy + image * pixels * s.out + g * n, s.out, 1}),
              {weight + g * n * k, k, 1}, nullptr, columns, k);
      gather_columns(s, columns, g * s.group_in(), dx + image * s.h * s.w * s.in);
    }
}

template <class T>
void weight_gradient(const ConvShape& s, const T* x, const T* dy, T* dweight) {
  const std::int64_t k = s.patch(), n = s.group_out();
  for (int g = 0; g < s.groups; ++g)
    gemm_over_pixels<T>(n, k, s.pixels(), rows_of<T>({dy + g * n, s.out, 1}), patch_rows(s, x, g),
                        dweight + g * n * k);
}

ConvShape shape_of(const Shape& x, const Shape& weight, const Window& window, int groups) {
  return {x[0],      x[1],   x[2],  x[3], window.out_h(x[1]), window.out_w(x[2]),
          weight[0], window, groups};
}

}  // namespace

Tensor CpuBackend::conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Window& window, int groups) {
  const ConvShape s = shape_of(x.shape(), weight.shape(), window, groups);
  Tensor y = Tensor::empty({s.n, s.oh, s.ow, s.out}, x.dtype());
  OpScope scope("conv2d", s.flops(),
                static_cast<double>(x.nbytes() + weight.nbytes() + y.nbytes()));
  dispatch_float(x.dtype(), "conv2d", [&](auto tag) {
    using T = decltype(tag);
    forward<T>(s, x.data<T>(), weight.data<T>(), bias.defined() ? bias.data<T>() : nullptr,
               y.data<T>());
  });
  return y;
}

ConvGradients CpuBackend::conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                          const Window& window, int groups, Needs needs) {
  const ConvShape s = shape_of(x.shape(), weight.shape(), window, groups);
  const int products = (needs.dx ? 1 : 0) + (needs.dweight ? 1 : 0);
  OpScope scope("conv2d backward", products * s.flops(),
                static_cast<double>(dy.nbytes() + static_cast<std::size_t>(products) * x.nbytes()));
  ConvGradients g;
  if (needs.dx) g.dx = Tensor::empty(x.shape(), x.dtype());
  if (needs.dweight) g.dweight = Tensor::empty(weight.shape(), x.dtype());
  dispatch_float(x.dtype(), "conv2d", [&](auto tag) {
    using T = decltype(tag);
    if (needs.dx) input_gradient<T>(s, dy.data<T>(), weight.data<T>(), g.dx.data<T>());
    if (needs.dweight) weight_gradient<T>(s, x.data<T>(), dy.data<T>(), g.dweight.data<T>());
  });
  if (needs.dbias) g.dbias = sum_columns(dy);
  return g;
}

}  // namespace nextgrad::cpu
