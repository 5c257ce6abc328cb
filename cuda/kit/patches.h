// Patches of images as rows of a matrix ("im2col"), and the sum of their gradients at each pixel.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/kit/index.h"
#include "tensor/backend.h"

namespace nextgrad::cuda {

// Channels [channel, channel + depth) of x [N,H,W,in]; a patch is [kh][kw][depth], then zeros up
// to `size`.
struct ConvShape {
  std::int64_t n, h, w, in, oh, ow, out;
  Window window;
  int groups;
  int depth, taps, size;
  bool direct;  // the pixels are the patches

  std::int64_t group_out() const { return out / groups; }
  std::int64_t patch() const { return std::int64_t{taps} * depth; }
  std::int64_t pixels() const { return n * oh * ow; }
  double flops() const { return 2.0 * static_cast<double>(pixels() * out * patch()); }
};

inline ConvShape shape_of(const Shape& x, const Shape& weight, const Window& window, int groups,
                          std::int64_t pack) {
  ConvShape s{
      x[0], x[1], x[2], x[3], window.out_h(x[1]), window.out_w(x[2]), weight[0], window, groups,
      0,    0,    0,    false};
  const Window& k = window;
  s.depth = static_cast<int>(x[3] / groups);
  s.taps = k.kh * k.kw;
  s.direct = s.taps == 1 && k.stride_h == 1 && k.stride_w == 1 && k.pad_h == 0 && k.pad_w == 0;
  s.size = static_cast<int>(s.direct ? s.patch() : (s.patch() + pack - 1) / pack * pack);
  check(s.n * std::max(s.h * s.w, s.oh * s.ow) < std::int64_t{1} << 31,
        "conv2d: {} has too many pixels for one call", x.str());
  return s;
}

// What kernels know of a convolution.
struct PatchWork {
  std::int64_t in;  // of all groups
  int h, w, oh, ow, depth, taps, size, channel;
  Window k;
  Divider by_packs, by_depth, by_kw, by_row, by_image;
};

// A pixel has `packs` packs; pixels are numbered along images of `rows` by `columns`.
inline PatchWork patch_work(const ConvShape& s, int group, std::int64_t packs, std::int64_t rows,
                            std::int64_t columns) {
  return {s.in,
          static_cast<int>(s.h),
          static_cast<int>(s.w),
          static_cast<int>(s.oh),
          static_cast<int>(s.ow),
          s.depth,
          s.taps,
          s.size,
          group * s.depth,
          s.window,
          Divider(packs),
          Divider(s.depth),
          Divider(s.window.kw),
          Divider(columns),
          Divider(rows * columns)};
}

// The numbers of one tap at output (oy, ox); null outside the image.
template <class T>
__device__ __forceinline__ const T* tap_of(const T* x, const PatchWork& p, int image, int oy,
                                           int ox, int tap) {
  const int ky = p.by_kw.quotient(tap), kx = p.by_kw.remainder(tap, ky);
  const int iy = oy * p.k.stride_h - p.k.pad_h + ky * p.k.dilation_h;
  const int ix = ox * p.k.stride_w - p.k.pad_w + kx * p.k.dilation_w;
  if (tap >= p.taps || iy < 0 || iy >= p.h || ix < 0 || ix >= p.w) return nullptr;
  return x + ((static_cast<std::int64_t>(image) * p.h + iy) * p.w + ix) * p.in + p.channel;
}

// Patches [count][size] of the output pixels from `first` on. Whole: a pack lies within one tap.
template <class T, bool Whole>
__global__ void make_patches(const T* x, T* patches, PatchWork p, int first, int count) {
  constexpr int N = kPack<T>;
  const int packs = p.size / N;
  for (std::int64_t i = global_index(); i < static_cast<std::int64_t>(count) * packs;
       i += global_threads()) {
    const int row = p.by_packs.quotient(static_cast<int>(i));
    int element = p.by_packs.remainder(static_cast<int>(i), row) * N;
    const int pixel = first + row, image = p.by_image.quotient(pixel);
    const int inside = p.by_image.remainder(pixel, image), oy = p.by_row.quotient(inside);
    const int ox = p.by_row.remainder(inside, oy);
    int tap = p.by_depth.quotient(element), c = p.by_depth.remainder(element, tap);
    const T* from = tap_of(x, p, image, oy, ox, tap);
    Pack<T, N> pack;
    if constexpr (Whole) {
      if (from != nullptr) {
        pack = *reinterpret_cast<const Pack<T, N>*>(from + c);
      } else {
#pragma unroll
        for (int k = 0; k < N; ++k) pack.at[k] = narrow<T>(Compute<T>(0));
      }
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        pack.at[k] = from != nullptr ? from[c] : narrow<T>(Compute<T>(0));
        if (++c == p.depth) {
          c = 0;
          from = tap_of(x, p, image, oy, ox, ++tap);
        }
      }
    }
    *reinterpret_cast<Pack<T, N>*>(patches + i * N) = pack;
  }
}

// dx of `count` pixels from `first` on: the sum of the patches that hold each. `gradients` are
// those of the patches of whole images, beginning with the first pixel's.
template <class T, int N>
__global__ void gather_patches(const T* gradients, T* dx, PatchWork p, int first, int count) {
  const int packs = p.depth / N;
  for (std::int64_t i = global_index(); i < static_cast<std::int64_t>(count) * packs;
       i += global_threads()) {
    const int local = p.by_packs.quotient(static_cast<int>(i));
    const int c = p.by_packs.remainder(static_cast<int>(i), local) * N;
    const int image = p.by_image.quotient(local), inside = p.by_image.remainder(local, image);
    const int iy = p.by_row.quotient(inside), ix = p.by_row.remainder(inside, iy);
    Compute<T> sum[N] = {};
    for (int ky = 0; ky < p.k.kh; ++ky) {
      const int y = iy + p.k.pad_h - ky * p.k.dilation_h, oy = y / p.k.stride_h;
      if (y < 0 || oy >= p.oh || oy * p.k.stride_h != y) continue;
      for (int kx = 0; kx < p.k.kw; ++kx) {
        const int x = ix + p.k.pad_w - kx * p.k.dilation_w, ox = x / p.k.stride_w;
        if (x < 0 || ox >= p.ow || ox * p.k.stride_w != x) continue;
        const std::int64_t row = (static_cast<std::int64_t>(image) * p.oh + oy) * p.ow + ox;
        Compute<T> g[N];
        load<N>(gradients + row * p.size + (ky * p.k.kw + kx) * p.depth + c, g);
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] += g[k];
      }
    }
    store<N>(dx + (static_cast<std::int64_t>(first) + local) * p.in + p.channel + c, sum);
  }
}

}  // namespace nextgrad::cuda
