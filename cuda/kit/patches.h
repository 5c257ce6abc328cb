// Patches of images as rows of a matrix ("im2col"), and the sum of their gradients at each pixel.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/kit/index.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {

// A convolution by patches: [kh][kw][depth] channels of a group, then zeros up to `size`.
struct PatchShape : ConvShape {
  int depth, taps, size;

  PatchShape(const Shape& x, const Shape& weight, const Window& window_, int groups_,
             std::int64_t pack)
      : ConvShape(conv_shape(x, weight, window_, groups_)),
        depth(static_cast<int>(group_in())),
        taps(window.kh * window.kw),
        size(static_cast<int>(parts_of(patch(), pack) * pack)) {
    check(n * std::max(h * w, oh * ow) < std::int64_t{1} << 31,
          "conv2d: {} has too many pixels for one call", x);
  }
};

// What kernels know of one group of it: channels [channel, channel + depth) of x [N,H,W,in].
struct PatchWork : PatchShape {
  int channel;
  Divider by_packs, by_depth, by_kw, by_row, by_image;

  // A pixel has `packs` packs; pixels are numbered along images of `rows` by `columns`.
  PatchWork(const PatchShape& s, int group, std::int64_t packs, std::int64_t rows,
            std::int64_t columns)
      : PatchShape(s),
        channel(group * depth),
        by_packs(packs),
        by_depth(depth),
        by_kw(window.kw),
        by_row(columns),
        by_image(rows * columns) {}
};

// The numbers of one tap at output (oy, ox); null outside the image.
template <class T>
__device__ __forceinline__ const T* tap_of(const T* x, const PatchWork& p, int image, int oy,
                                           int ox, int tap) {
  const int ky = p.by_kw.quotient(tap), kx = p.by_kw.remainder(tap, ky);
  const int iy = oy * p.window.stride_h - p.window.pad_h + ky * p.window.dilation_h;
  const int ix = ox * p.window.stride_w - p.window.pad_w + kx * p.window.dilation_w;
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
    Compute<T> pack[N] = {};
    if constexpr (Whole) {
      if (from != nullptr) load<N>(from + c, pack);
    } else {
      unroll<N>([&](int k) {
        if (from != nullptr) pack[k] = widen(from[c]);
        if (++c == p.depth) {
          c = 0;
          from = tap_of(x, p, image, oy, ox, ++tap);
        }
      });
    }
    store<N>(patches + i * N, pack);
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
    for (int ky = 0; ky < p.window.kh; ++ky) {
      const int y = iy + p.window.pad_h - ky * p.window.dilation_h, oy = y / p.window.stride_h;
      if (y < 0 || oy >= p.oh || oy * p.window.stride_h != y) continue;
      for (int kx = 0; kx < p.window.kw; ++kx) {
        const int x = ix + p.window.pad_w - kx * p.window.dilation_w, ox = x / p.window.stride_w;
        if (x < 0 || ox >= p.ow || ox * p.window.stride_w != x) continue;
        const std::int64_t row = (static_cast<std::int64_t>(image) * p.oh + oy) * p.ow + ox;
        Compute<T> g[N];
        load<N>(gradients + row * p.size + (ky * p.window.kw + kx) * p.depth + c, g);
        unroll<N>([&](int k) { sum[k] += g[k]; });
      }
    }
    store<N>(dx + (static_cast<std::int64_t>(first) + local) * p.in + p.channel + c, sum);
  }
}

}  // namespace nextgrad::cuda
