// A feed-forward branch, base + m (W2 gelu(taps * (W1 x + b1) + tap_bias) + b2), in one pass: its
// hidden maps, 4 to 8 times as wide as x, never leave the L2 cache.
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
#include "tensor/cpu/ops/feed_forward.h"

#include "tensor/costs.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"

namespace nextgrad::cpu {

namespace {

struct HiddenScratch;
struct BandScratch;

template <class T>
struct Job : FeedForwardJob<T> {
  const T *base, *w2, *b2, *mask;  // mask, of images, may be null
  T* y;
};

// Large tiles, but a few for each thread.
std::int64_t rows_of_tile(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t channels) {
  const std::int64_t across = (w + kTileColumns - 1) / kTileColumns;
  const std::int64_t fair = n * h * across / (std::int64_t{4} * num_threads());
  const std::int64_t most = std::min(kMostRows, kTileNumbers / (kTileColumns * channels));
  return std::max(kLeastRows, std::min(fair, most)) / kBandRows * kBandRows;
}

template <class T>
void gelu_run(T* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] = gelu(x[i]);
}

// Rows [r0, r1) of the tile: convolves the band, activates, and adds the product to y.
template <class T>
void contract(const Job<T>& j, const FeedForwardTile& t, std::int64_t r0, std::int64_t r1,
              const FeedForwardBand<T>& band, T* z) {
  const std::int64_t first = band.first, width = band.width, left = t.x0 - t.left;
  depthwise_3x3_part(band.shape(t), r0 - band.top, r1 - band.top, left, left + t.columns(), band.h,
                     j.taps + first * 10, z);
  for (std::int64_t r = r0; r < r1; ++r) {
    T* row = z + (r - band.top) * band.row(t) + left * width;
    gelu_run(row, t.columns() * width);
    const std::int64_t at = ((t.image * j.h + r) * j.w + t.x0) * j.out;
    multiply_block(t.columns(), j.out, width, row, width, j.w2 + first * kPanel<T>,
                   j.hidden * kPanel<T>, j.b2, first > 0, j.y + at, j.out);
    if (first + width == j.hidden)
      add_row(j.base + at, j.mask != nullptr ? j.mask[t.image] : T{1}, j.y + at,
              t.columns() * j.out);
  }
}

template <class T>
void run_tile(const Job<T>& j, const FeedForwardTile& t) {
  T* h = scratch<HiddenScratch, T>((kBandRows + 2) * (kTileColumns + 2) * kHidden);
  T* z = scratch<BandScratch, T>((kBandRows + 2) * (kTileColumns + 2) * kHidden);
  for (std::int64_t first = 0; first < j.hidden; first += kHidden) {
    FeedForwardBand<T> band{first, std::min(kHidden, j.hidden - first), 0, 0, h};
    for (std::int64_t r = t.y0; r < t.y1; r += kBandRows) {
      const std::int64_t end = std::min(t.y1, r + kBandRows);
      expand(j, t, std::max<std::int64_t>(0, r - 1), std::min(j.h, end + 1), band);
      contract(j, t, r, end, band, z);
    }
  }
}

}  // namespace

bool CpuBackend::trains_feed_forward(const Tensor& x, const FeedForwardWeights& f) {
  const std::int64_t c = x.dim(3), out = f.contract.dim(0);
  return suits_tiles(x, f) && c <= kMostChannels &&
         dispatch_float(x.dtype(), "feed_forward",
                        [&]<class T>(T) { return c % kPanel<T> == 0 && out % kPanel<T> == 0; });
}

Tensor CpuBackend::feed_forward(const Tensor& base, const Tensor& x, const FeedForwardWeights& f,
                                const Tensor& mask) {
  OpScope scope(costs::feed_forward(base, x, f));
  if (!suits_tiles(x, f)) return Fused::feed_forward(base, x, f, mask);
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  const std::int64_t hidden = f.expand.dim(0), out = f.contract.dim(0);
  Tensor y = Tensor::empty(base.shape(), x.dtype());
  dispatch_float(x.dtype(), "feed_forward", [&]<class T>(T) {
    const Tensor w1 = packed_transpose<T>(f.expand);
    const Tensor w2 = packed_transpose<T>(f.contract);
    const Tensor taps = Tensor::empty({10 * hidden}, x.dtype());
    depthwise_square_pack(f.taps.data<T>(), data_or_null<const T>(f.taps_bias), 9, hidden, false,
                          taps.data<T>());
    const Job<T> job{{n, h, w, c, hidden, out, rows_of_tile(n, h, w, c + out), x.data<T>(),
                      w1.data<T>(), data_or_null<const T>(f.expand_bias), taps.data<T>()},
                     base.data<T>(),
                     w2.data<T>(),
                     data_or_null<const T>(f.contract_bias),
                     data_or_null<const T>(mask),
                     y.data<T>()};
    parallel_tasks(job.tiles(), [&](std::int64_t i) { run_tile(job, tile_at(job, i, 1)); });
  });
  return y;
}

}  // namespace nextgrad::cpu
