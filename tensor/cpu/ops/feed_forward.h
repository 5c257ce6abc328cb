// What the forward and the backward of a feed-forward branch share: tiles, and the first product by
// rolling bands of rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/ops/depthwise.h"

namespace nextgrad::cpu {

inline constexpr std::int64_t kTileColumns = 32;  // whole groups of the depth-wise kernel
inline constexpr std::int64_t kBandRows = 4;
inline constexpr std::int64_t kHidden = 64;  // hidden channels at a time
inline constexpr std::int64_t kLeastRows = 8, kMostRows = 32;
inline constexpr std::int64_t kTileNumbers = 131072;  // of the narrow maps in a tile: 512 KiB
inline constexpr std::int64_t kMostChannels = 128;    // of each: so that kLeastRows fit

// Weights are packed, biases may be null.
template <class T>
struct FeedForwardJob {
  std::int64_t n, h, w, c, hidden, out, rows;  // rows of a tile
  const T *x, *w1, *b1, *taps;

  std::int64_t across() const { return (w + kTileColumns - 1) / kTileColumns; }
  std::int64_t down() const { return (h + rows - 1) / rows; }
  std::int64_t tiles() const { return n * down() * across(); }
};

// Whether tiles do better than the ops one by one: small or narrow hidden maps stay in cache
// anyway, and a wide x leaves too few rows for a tile.
inline bool suits_tiles(const Tensor& x, const FeedForwardWeights& f) {
  const std::int64_t hidden = f.expand.dim(0), pixels = x.dim(1) * x.dim(2);
  const DepthwiseShape shape{x.dim(0),
                             x.dim(1),
                             x.dim(2),
                             hidden,
                             x.dim(1),
                             x.dim(2),
                             {.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}};
  const bool fits = dispatch_float(x.dtype(), "feed_forward", [&]<class T>(T) {
    return depthwise_square_fits<T>(shape) && hidden % kPanel<T> == 0;
  });
  return fits && pixels * hidden >= (1 << 20) && f.contract.dim(0) <= kMostChannels;
}

// Pixels [y0, y1) x [x0, x1) of an image, and the columns of h around them that are needed.
struct FeedForwardTile {
  std::int64_t image, y0, y1, x0, x1, left, right;
  std::int64_t width() const { return right - left; }
  std::int64_t columns() const { return x1 - x0; }
};

template <class T>
FeedForwardTile tile_at(const FeedForwardJob<T>& j, std::int64_t index, std::int64_t margin) {
  FeedForwardTile t{};
  t.image = index / j.across() / j.down();
  t.y0 = index / j.across() % j.down() * j.rows;
  t.y1 = std::min(j.h, t.y0 + j.rows);
  t.x0 = index % j.across() * kTileColumns;
  t.x1 = std::min(j.w, t.x0 + kTileColumns);
  t.left = std::max<std::int64_t>(0, t.x0 - margin);
  t.right = std::min(j.w, t.x1 + margin);
  return t;
}

// A tile's rows [top, bottom) of h = W1 x + b1, `width` hidden channels from `first` on.
template <class T>
struct FeedForwardBand {
  std::int64_t first, width, top, bottom;
  T* h;

  std::int64_t row(const FeedForwardTile& t) const { return t.width() * width; }
  // As an image of its own.
  DepthwiseShape shape(const FeedForwardTile& t) const {
    return {1,
            bottom - top,
            t.width(),
            width,
            bottom - top,
            t.width(),
            {.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}};
  }
};

// Rows [from, to) of a buffer whose first row was `top`, to where they belong if it is `now`.
template <class T>
void move_rows(T* rows, std::int64_t row, std::int64_t top, std::int64_t now, std::int64_t from,
               std::int64_t to) {
  if (from < to && now != top)
    std::copy(rows + (from - top) * row, rows + (to - top) * row, rows + (from - now) * row);
}

// Goes on to rows [top, bottom): moves what there is of them to the front, computes the others.
template <class T>
void expand(const FeedForwardJob<T>& j, const FeedForwardTile& t, std::int64_t top,
            std::int64_t bottom, FeedForwardBand<T>& band) {
  const std::int64_t row = band.row(t), from = std::max(top, band.bottom);
  move_rows(band.h, row, band.top, top, top, std::min(from, band.bottom));
  for (std::int64_t r = from; r < bottom; ++r)
    multiply_block(t.width(), band.width, j.c, j.x + ((t.image * j.h + r) * j.w + t.left) * j.c,
                   j.c, j.w1 + band.first * j.c, j.c * kPanel<T>,
                   j.b1 ? j.b1 + band.first : nullptr, false, band.h + (r - top) * row, band.width);
  band.top = top;
  band.bottom = bottom;
}

}  // namespace nextgrad::cpu
