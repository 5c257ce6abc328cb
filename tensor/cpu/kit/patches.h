// Patches of images as rows of a matrix ("im2col"): what a convolution multiplies. They are made a
// block at a time, in scratch memory, and live in L2 for the product that asked for them.
//
//      image [h][w][C]                      block [pixels][ys][xs][C]
//      . . . . . . . .
//      . a a a b b . .      two pixels      a a a c c c e e e
//      . c c c d d . .      at stride 2     a b b c d d e f f
//      . e e e f f . .
//
// With channels last a row of a patch is one run of numbers in the image: for each of ys, one run
// is copied for every pixel of an image row, except where a patch looks over the edge.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/kit/lanes.h"
#include "tensor/cpu/kit/scratch.h"

namespace nextgrad::cpu {

// Patches of images [N][h][w][channels], one for each of rows x cols pixels an image: the numbers
// at (row * stride_h + ys[i], col * stride_w + xs[j]), zero outside, of channels
// [channel, channel + depth).
struct PatchGrid {
  std::int64_t h, w, channels, channel, depth;
  std::int64_t rows, cols;
  std::int64_t stride_h = 1, stride_w = 1;
  std::vector<std::int64_t> ys = {}, xs = {};
  std::int64_t row_size() const { return static_cast<std::int64_t>(xs.size()) * depth; }
  std::int64_t size() const { return static_cast<std::int64_t>(ys.size()) * row_size(); }
  // Is a row of a patch inside the image one run of numbers? (xs ascends.)
  bool one_run() const {
    return depth == channels && !xs.empty() &&
           xs.back() - xs.front() + 1 == static_cast<std::int64_t>(xs.size());
  }
};

// A pixel of a batch of images.
struct Pixel {
  std::int64_t image, row, col;
};

// Calls fn(pixel, done, n) for the n pixels of one row at a time of the pixels
// [first, first + count) of images [rows][cols]; `done` came before them.
template <class Fn>
void for_rows(std::int64_t rows, std::int64_t cols, std::int64_t first, std::int64_t count,
              Fn&& fn) {
  for (std::int64_t done = 0, n = 0; done < count; done += n) {
    const std::int64_t at = first + done;
    const Pixel p{at / (rows * cols), at / cols % rows, at % cols};
    n = std::min(count - done, cols - p.col);
    fn(p, done, n);
  }
}

// copy_runs() for runs of `Vectors` vectors, 0 = any number of them.
template <int Vectors, class T>
void copy_vectors(const T* from, std::int64_t from_stride, std::int64_t count, std::int64_t n,
                  T* to, std::int64_t to_stride) {
  constexpr int L = kLanes<T>;
  for (; count > 0; --count, from += from_stride, to += to_stride) {
    if constexpr (Vectors > 0) {
      for (int v = 0; v < Vectors - 1; ++v) store(to + v * L, load(from + v * L));
    } else {
      for (std::int64_t i = 0; i < n - L; i += L) store(to + i, load(from + i));
    }
    store(to + n - L, load(from + n - L));
  }
}

// `count` runs of n numbers, in whole vectors of which the last may overlap: runs are short, and a
// call of memcpy for each would cost more than the copy.
template <class T>
void copy_runs(const T* from, std::int64_t from_stride, std::int64_t count, std::int64_t n, T* to,
               std::int64_t to_stride) {
  constexpr int L = kLanes<T>;
  if (n < L) {
    for (; count > 0; --count, from += from_stride, to += to_stride)
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
    return;
  }
  const std::int64_t vectors = (n + L - 1) / L;
  if (vectors > 4) return copy_vectors<0>(from, from_stride, count, n, to, to_stride);
  with_constant<4>(static_cast<int>(vectors), [=](auto constant) {
    copy_vectors<constant()>(from, from_stride, count, n, to, to_stride);
  });
}

// One row (of ys) of the patches of pixels [col, end) of an image row, tap by tap: at the edges.
// `row` is the image's row, null outside the image.
template <class T>
void taps_of_row(const PatchGrid& g, const T* row, std::int64_t col, std::int64_t end, T* out) {
  for (; col < end; ++col, out += g.size()) {
    T* to = out;
    for (const std::int64_t dx : g.xs) {
      const std::int64_t x = col * g.stride_w + dx;
      to = row == nullptr || x < 0 || x >= g.w
               ? std::fill_n(to, g.depth, T{0})
               : std::copy_n(row + x * g.channels + g.channel, g.depth, to);
    }
  }
}

// Patches of the pixels [p.col, p.col + count) of one row.
template <class T>
void patches_of_row(const PatchGrid& g, const T* x, const Pixel& p, std::int64_t count, T* out) {
  // Pixels [lo, hi) have their patches' rows whole.
  const std::int64_t end = p.col + count;
  std::int64_t lo = end, hi = end;
  if (g.one_run()) {
    const std::int64_t before = std::max<std::int64_t>(0, -g.xs.front());
    const std::int64_t last = g.w - 1 - g.xs.back();
    lo = std::clamp((before + g.stride_w - 1) / g.stride_w, p.col, end);
    hi = std::clamp(last < 0 ? 0 : last / g.stride_w + 1, lo, end);
  }
  for (const std::int64_t dy : g.ys) {
    const std::int64_t y = p.row * g.stride_h + dy;
    if (y < 0 || y >= g.h) {
      taps_of_row<T>(g, nullptr, p.col, end, out);
    } else {
      const T* row = x + (p.image * g.h + y) * g.w * g.channels;
      taps_of_row(g, row, p.col, lo, out);
      if (lo < hi)
        copy_runs(row + (lo * g.stride_w + g.xs.front()) * g.channels, g.stride_w * g.channels,
                  hi - lo, g.row_size(), out + (lo - p.col) * g.size(), g.size());
      taps_of_row(g, row, hi, end, out + (hi - p.col) * g.size());
    }
    out += g.row_size();
  }
}

// Blocks of patches of the images x. `g` must live as long.
template <class T>
RowBlocks<T> patch_rows(const PatchGrid& g, const T* x) {
  struct Block;
  return [&g, x](std::int64_t first, std::int64_t count) {
    T* block = scratch<Block, T>(count * g.size());
    for_rows(g.rows, g.cols, first, count, [&](const Pixel& p, std::int64_t done, std::int64_t n) {
      patches_of_row(g, x, p, n, block + done * g.size());
    });
    return MatrixView<T>{block, g.size(), 1};
  };
}

}  // namespace nextgrad::cpu
