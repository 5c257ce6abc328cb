// A feed-forward branch in evaluation, base + W2 gelu(taps * (W1 x + b1) + tap_bias) + b2,
// in one pass: its hidden maps, 4 to 8 times as wide as x, never leave the L2 cache.
//
//     x [rows + 2][columns + 2][C]           A task is a tile of 8 to 32 rows of kTileColumns
//            | 1x1                           pixels. kHidden hidden channels at a time it goes down
//     h [band + 2][columns + 2][kHidden]     by bands of kBandRows rows: computes the rows of h
//            | 3x3, kBandRows rows           that the band needs and the last one has not left,
//     z [band][columns + 2][kHidden]         convolves and activates them, and adds the product to
//            | GELU, 1x1                     y, whose tile stays in the cache, too. Twice is done
//     y [rows][columns][C] +=                only what two tiles need of h, a pixel on each side.
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

constexpr std::int64_t kTileColumns = 32, kBandRows = 4, kHidden = 64;
constexpr std::int64_t kLeastRows = 8, kMostRows = 32;
constexpr std::int64_t kTileNumbers = 131072;  // of x and y in a tile: 512 KiB
constexpr std::int64_t kMostChannels = 128;    // of y: so that kLeastRows fit

// What all tiles share; weights are packed, biases may be null.
template <class T>
struct Job {
  std::int64_t n, h, w, c, hidden, out, rows;
  const T *base, *x, *w1, *b1, *taps, *w2, *b2;
  T* y;
};

// Outputs [y0, y1) x [x0, x1) of an image, and the columns of h they need.
struct Tile {
  std::int64_t image, y0, y1, x0, x1, left, right;
  std::int64_t width() const { return right - left; }
};

// Large ones, but a few for each thread.
std::int64_t rows_of_tile(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t channels) {
  const std::int64_t across = (w + kTileColumns - 1) / kTileColumns;
  const std::int64_t fair = n * h * across / (std::int64_t{4} * num_threads());
  const std::int64_t most = std::min(kMostRows, kTileNumbers / (kTileColumns * channels));
  return std::max(kLeastRows, std::min(fair, most)) / kBandRows * kBandRows;
}

template <class T>
Tile tile_at(const Job<T>& j, std::int64_t index) {
  const std::int64_t across = (j.w + kTileColumns - 1) / kTileColumns;
  const std::int64_t down = (j.h + j.rows - 1) / j.rows, column = index % across;
  Tile t{};
  t.image = index / across / down;
  t.y0 = index / across % down * j.rows;
  t.y1 = std::min(j.h, t.y0 + j.rows);
  t.x0 = j.w * column / across;
  t.x1 = j.w * (column + 1) / across;
  t.left = std::max<std::int64_t>(0, t.x0 - 1);
  t.right = std::min(j.w, t.x1 + 1);
  return t;
}

// A tile's rows [top, bottom) of h, `width` hidden channels from `first` on.
template <class T>
struct Band {
  std::int64_t first, width, top, bottom;
  T* h;
};

// Goes on to rows [top, bottom): moves what there is of them to the front, computes the others.
template <class T>
void expand(const Job<T>& j, const Tile& t, std::int64_t top, std::int64_t bottom, Band<T>& band) {
  const std::int64_t row = t.width() * band.width,
                     held = std::max<std::int64_t>(0, band.bottom - top);
  if (held > 0) std::copy_n(band.h + (top - band.top) * row, held * row, band.h);
  for (std::int64_t r = top + held; r < bottom; ++r)
    multiply_block(t.width(), band.width, j.c, j.x + ((t.image * j.h + r) * j.w + t.left) * j.c,
                   j.c, j.w1 + band.first * j.c, j.c * kPanel<T>,
                   j.b1 ? j.b1 + band.first : nullptr, false, band.h + (r - top) * row, band.width);
  band.top = top;
  band.bottom = bottom;
}

template <class T>
void gelu_run(T* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] = gelu(x[i]);
}

// Rows [r0, r1) of the tile: convolves the band, an image of its own, activates, and adds the
// product to y.
template <class T>
void contract(const Job<T>& j, const Tile& t, std::int64_t r0, std::int64_t r1, const Band<T>& band,
              T* z) {
  const std::int64_t top = band.top, first = band.first, width = band.width;
  const std::int64_t height = band.bottom - top;
  DepthwiseShape s{1, height, t.width(), width, height, t.width(), {}};
  s.window = {.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  const std::int64_t columns = t.x1 - t.x0, left = t.x0 - t.left;
  depthwise_3x3_part(s, r0 - top, r1 - top, left, left + columns, band.h, j.taps + first * 10, z);
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
  T* h = scratch<HiddenScratch, T>((kBandRows + 2) * (kTileColumns + 2) * kHidden);
  T* z = scratch<BandScratch, T>((kBandRows + 2) * (kTileColumns + 2) * kHidden);
  for (std::int64_t first = 0; first < j.hidden; first += kHidden) {
    Band<T> band{first, std::min(kHidden, j.hidden - first), 0, 0, h};
    for (std::int64_t r = t.y0; r < t.y1; r += kBandRows) {
      const std::int64_t end = std::min(t.y1, r + kBandRows);
      expand(j, t, std::max<std::int64_t>(0, r - 1), std::min(j.h, end + 1), band);
      contract(j, t, r, end, band, z);
    }
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
  const std::int64_t rows = rows_of_tile(n, h, w, c + out);
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
                     rows,
                     base.data<T>(),
                     x.data<T>(),
                     w1.data<T>(),
                     data_or_null<const T>(f.expand_bias),
                     taps.data<T>(),
                     w2.data<T>(),
                     data_or_null<const T>(f.contract_bias),
                     y.data<T>()};
    const std::int64_t tiles =
        n * ((h + rows - 1) / rows) * ((w + kTileColumns - 1) / kTileColumns);
    parallel_tasks(tiles, [&](std::int64_t i) { run_tile(job, tile_at(job, i)); });
  });
  return y;
}

}  // namespace nextgrad::cpu
