// A feed-forward branch in evaluation, base + W2 gelu(taps * (W1 x + b1) + tap_bias) + b2,
// in one pass: its hidden maps, 4 to 8 times as wide as x, never leave the L2 cache.
//
//     x [rows + 2][columns + 2][C]           A task is a tile of kTileRows x kTileColumns pixels.
//            | 1x1                           kHidden hidden channels at a time it computes h with a
//     h [rows + 2][columns + 2][kHidden]     border of one pixel (a quarter of the first product
//            | 3x3, kBandRows rows           is done twice for it), convolves and activates a band
//     z [band][columns + 2][kHidden]         of rows, and adds the product to y, whose tile stays
//            | GELU, 1x1                     in the cache, too.
//     y [rows][columns][C] +=
//
// Against the ops one by one this saves four passes over the hidden maps, which for the first two
// stages do not fit in cache.
#include <algorithm>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/cpu/ops/depthwise.h"

namespace nextgrad::cpu {

namespace {

struct HiddenScratch;
struct BandScratch;

constexpr std::int64_t kTileRows = 8, kTileColumns = 64, kBandRows = 4, kHidden = 32;
constexpr std::int64_t kMostChannels = 128;  // of y: its tile then fills half of L2

// What all tiles share; weights are packed, biases may be null.
template <class T>
struct Job {
  std::int64_t n, h, w, c, hidden, out;
  const T *base, *x, *w1, *b1, *taps, *w2, *b2;
  T* y;
};

// Outputs [y0, y1) x [x0, x1) of an image, and the region of h they need.
struct Tile {
  std::int64_t image, y0, y1, x0, x1, top, bottom, left, right;
  std::int64_t width() const { return right - left; }
};

template <class T>
Tile tile_at(const Job<T>& j, std::int64_t index) {
  const std::int64_t across = (j.w + kTileColumns - 1) / kTileColumns;
  const std::int64_t down = (j.h + kTileRows - 1) / kTileRows, column = index % across;
  Tile t{};
  t.image = index / across / down;
  t.y0 = index / across % down * kTileRows;
  t.y1 = std::min(j.h, t.y0 + kTileRows);
  t.x0 = j.w * column / across;
  t.x1 = j.w * (column + 1) / across;
  t.top = std::max<std::int64_t>(0, t.y0 - 1);
  t.bottom = std::min(j.h, t.y1 + 1);
  t.left = std::max<std::int64_t>(0, t.x0 - 1);
  t.right = std::min(j.w, t.x1 + 1);
  return t;
}

// h of `width` hidden channels from `first` on, over the tile's region.
template <class T>
void expand(const Job<T>& j, const Tile& t, std::int64_t first, std::int64_t width, T* h) {
  for (std::int64_t r = t.top; r < t.bottom; ++r)
    multiply_block(t.width(), width, j.c, j.x + ((t.image * j.h + r) * j.w + t.left) * j.c, j.c,
                   j.w1 + first * j.c, j.c * kPanel<T>, j.b1 ? j.b1 + first : nullptr, false,
                   h + (r - t.top) * t.width() * width, width);
}

template <class T>
void gelu_run(T* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] = gelu(x[i]);
}

// Rows [r0, r1) of the tile: convolves h, activates, and adds the product to y.
template <class T>
void contract_band(const Job<T>& j, const Tile& t, std::int64_t r0, std::int64_t r1,
                   std::int64_t first, std::int64_t width, const T* h, T* z) {
  // The band and its neighbour rows as an image of their own.
  const std::int64_t top = std::max(t.top, r0 - 1), bottom = std::min(t.bottom, r1 + 1);
  DepthwiseShape s{1, bottom - top, t.width(), width, bottom - top, t.width(), {}};
  s.window = {.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  const std::int64_t columns = t.x1 - t.x0, left = t.x0 - t.left;
  depthwise_3x3_part(s, r0 - top, r1 - top, left, left + columns,
                     h + (top - t.top) * t.width() * width, j.taps + first * 10, z);
  for (std::int64_t r = r0; r < r1; ++r) {
    T* row = z + ((r - top) * t.width() + left) * width;
    gelu_run(row, columns * width);
    const std::int64_t at = ((t.image * j.h + r) * j.w + t.x0) * j.out;
    multiply_block(columns, j.out, width, row, width, j.w2 + first * kPanel<T>,
                   j.hidden * kPanel<T>, j.b2, first > 0, j.y + at, j.out);
    if (first + width == j.hidden) add_to(j.y + at, j.base + at, columns * j.out);
  }
}

template <class T>
void run_tile(const Job<T>& j, const Tile& t) {
  T* h = scratch<HiddenScratch, T>((kTileRows + 2) * (kTileColumns + 2) * kHidden);
  T* z = scratch<BandScratch, T>((kBandRows + 2) * (kTileColumns + 2) * kHidden);
  for (std::int64_t first = 0; first < j.hidden; first += kHidden) {
    const std::int64_t width = std::min(kHidden, j.hidden - first);
    expand(j, t, first, width, h);
    for (std::int64_t r = t.y0; r < t.y1; r += kBandRows)
      contract_band(j, t, r, std::min(t.y1, r + kBandRows), first, width, h, z);
  }
}

}  // namespace

Tensor CpuBackend::feed_forward(const Tensor& base, const Tensor& x, const FeedForwardWeights& f) {
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  const std::int64_t hidden = f.expand.dim(0), out = f.contract.dim(0);
  OpScope scope(costs::feed_forward(base, x, f));
  const DepthwiseShape shape{n, h, w, hidden, h, w, {.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}};
  const bool fits = dispatch_float(x.dtype(), "feed_forward", [&]<class T>(T) {
    return depthwise_square_fits<T>(shape) && hidden % kPanel<T> == 0;
  });
  // Small or narrow hidden maps stay in cache anyway, and a wide x leaves too few rows for a tile.
  if (!fits || h * w * hidden < (1 << 20) || out > kMostChannels)
    return Fused::feed_forward(base, x, f);
  Tensor y = Tensor::empty(base.shape(), x.dtype());
  dispatch_float(x.dtype(), "feed_forward", [&]<class T>(T) {
    const Tensor w1 = packed_weight<T>("linear", f.expand, {f.expand.data<T>(), 1, c}, c, hidden);
    const Tensor w2 =
        packed_weight<T>("linear", f.contract, {f.contract.data<T>(), 1, hidden}, hidden, out);
    const Tensor taps = Tensor::empty({10 * hidden}, x.dtype());
    depthwise_square_pack(f.taps.data<T>(), data_or_null<const T>(f.taps_bias), 9, hidden, false,
                          taps.data<T>());
    const Job<T> job{n,
                     h,
                     w,
                     c,
                     hidden,
                     out,
                     base.data<T>(),
                     x.data<T>(),
                     w1.data<T>(),
                     data_or_null<const T>(f.expand_bias),
                     taps.data<T>(),
                     w2.data<T>(),
                     data_or_null<const T>(f.contract_bias),
                     y.data<T>()};
    const std::int64_t tiles =
        n * ((h + kTileRows - 1) / kTileRows) * ((w + kTileColumns - 1) / kTileColumns);
    parallel_tasks(tiles, [&](std::int64_t i) { run_tile(job, tile_at(job, i)); });
  });
  return y;
}

}  // namespace nextgrad::cpu
