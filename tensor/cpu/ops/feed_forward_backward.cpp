// The backward of a feed-forward branch whose hidden maps were not kept: with
//   h = W1 x + b1,  z = taps * h + tap_bias,  g = gelu(z),  branch = W2 g + b2,
// it computes h and z again and
//   e = dy W2,  dz = e gelu'(z),  dh = taps' * dz,  dx = dh W1,
//   dW2 = dy^T g,  dW1 = dh^T x,  db1 = sum dh,  dtaps = <h, dz>,  dtap_bias = sum dz,
// tile by tile, kHidden hidden channels at a time, down by bands of rows as the forward does:
//
//     x, dy   [rows + 4][columns + 4]      h, two pixels around a band of dx
//     h  #####   z, dz  .###.   dh  .....  z, g, dz, one pixel around it
//        #####          .###.       ..#..  dh, the band itself
//        #####          .###.       .....  What the next band needs, too, moves to the front.
//
// Every hidden map stays in the cache. Weight gradients are summed over the tiles of a piece, then
// over the pieces in order; how tiles make pieces depends on the shapes alone.
//
// By the ops one by one hidden maps travel twelve times; here none does, for a quarter more
// products.
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/cpu/ops/feed_forward.h"
#include "tensor/ops.h"

namespace nextgrad::cpu {

namespace {

struct HiddenScratch;
struct ActiveScratch;
struct SlopeScratch;
struct GradientScratch;
struct DenseScratch;
struct InputPanels;
struct OutputPanels;

constexpr std::int64_t kMargin = 2, kPieces = 16;

template <class T>
struct Job : FeedForwardJob<T> {
  const T *dy, *back1, *back2, *flipped;  // packed: W1 for dx, W2 for e, taps turned round
  T* dx;
};

// Of one piece; `contract` is dW2 transposed, `taps` as the depth-wise kernel has them.
template <class T>
struct WeightSums {
  T *expand, *expand_bias, *contract, *taps;
};

// The tile's pixels of a map [.., c] as panels of columns, each over all of the tile's pixels.
template <class T>
void pack_tile(const FeedForwardJob<T>& j, const FeedForwardTile& t, const T* map, std::int64_t c,
               T* panels) {
  constexpr int P = kPanel<T>, L = kLanes<T>;
  const std::int64_t pixels = (t.y1 - t.y0) * t.columns();
  for (std::int64_t r = t.y0; r < t.y1; ++r)
    for (std::int64_t i = 0; i < t.columns(); ++i) {
      const T* from = map + ((t.image * j.h + r) * j.w + t.x0 + i) * c;
      T* to = panels + ((r - t.y0) * t.columns() + i) * P;
      for (std::int64_t k = 0; k < c; k += P, to += pixels * P) {
        store(to, load(from + k));
        store(to + L, load(from + k + L));
      }
    }
}

// dz = e gelu'(z) and z = gelu(z), in place.
template <class T>
void through_gelu(T* __restrict z, T* __restrict e, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    e[i] *= gelu_grad(z[i]);
    z[i] = gelu(z[i]);
  }
}

// What a tile works on: z, dz and dh in the geometry of the band; `dense`, the tile's own pixels of
// some rows without gaps, for the weight gradients.
template <class T>
struct Buffers {
  T *z, *dz, *dh, *dense, *x_panels, *dy_panels;
};

// weight [width, c] += map^T narrow over rows [from, to) of the tile: `map` is in the geometry of
// the band, `panels` are the narrow map's.
template <class T>
void add_product(const FeedForwardTile& t, const FeedForwardBand<T>& band, std::int64_t from,
                 std::int64_t to, const T* map, T* dense, const T* panels, std::int64_t c,
                 T* weight) {
  if (from >= to) return;
  const std::int64_t run = t.columns() * band.width;
  for (std::int64_t r = from; r < to; ++r)
    std::copy_n(map + (r - band.top) * band.row(t) + (t.x0 - t.left) * band.width, run,
                dense + (r - from) * run);
  multiply_transposed_block(band.width, c, (to - from) * t.columns(), dense, band.width,
                            panels + (from - t.y0) * t.columns() * kPanel<T>,
                            (t.y1 - t.y0) * t.columns() * kPanel<T>, true, weight, c);
}

// z and dz of rows [from, to); z becomes g, which makes their part of dW2.
template <class T>
void slope_rows(const Job<T>& j, const FeedForwardTile& t, const FeedForwardBand<T>& band,
                std::int64_t from, std::int64_t to, const Buffers<T>& b,
                const WeightSums<T>& sums) {
  const std::int64_t first = band.first, width = band.width;
  const std::int64_t left = std::max<std::int64_t>(0, t.x0 - 1), right = std::min(j.w, t.x1 + 1);
  depthwise_3x3_part(band.shape(t), from - band.top, to - band.top, left - t.left, right - t.left,
                     band.h, j.taps + first * 10, b.z);
  for (std::int64_t r = from; r < to; ++r) {
    const std::int64_t at = (r - band.top) * band.row(t) + (left - t.left) * width;
    multiply_block(right - left, width, j.out, j.dy + ((t.image * j.h + r) * j.w + left) * j.out,
                   j.out, j.back2 + first * j.out, j.out * kPanel<T>,
                   static_cast<const T*>(nullptr), false, b.dz + at, width);
    through_gelu(b.z + at, b.dz + at, (right - left) * width);
  }
  add_product(t, band, std::max(from, t.y0), std::min(to, t.y1), b.z, b.dense, b.dy_panels, j.out,
              sums.contract + first * j.out);
}

// dh of rows [r0, r1), the gradient of the taps, and what follows from dh.
template <class T>
void gradient_rows(const Job<T>& j, const FeedForwardTile& t, const FeedForwardBand<T>& band,
                   std::int64_t r0, std::int64_t r1, const Buffers<T>& b,
                   const WeightSums<T>& sums) {
  const std::int64_t first = band.first, width = band.width, left = t.x0 - t.left;
  depthwise_3x3_part_backward(band.shape(t), r0 - band.top, r1 - band.top, left, left + t.columns(),
                              b.dz, j.flipped + first * 10, band.h, b.dh, sums.taps + first * 10);
  add_product(t, band, r0, r1, b.dh, b.dense, b.x_panels, j.c, sums.expand + first * j.c);
  for (std::int64_t i = 0; i < (r1 - r0) * t.columns(); ++i)
    add_to(sums.expand_bias + first, b.dense + i * width, width);
  for (std::int64_t r = r0; r < r1; ++r)
    multiply_block(t.columns(), j.c, width, b.dense + (r - r0) * t.columns() * width, width,
                   j.back1 + first * kPanel<T>, j.hidden * kPanel<T>,
                   static_cast<const T*>(nullptr), first > 0,
                   j.dx + ((t.image * j.h + r) * j.w + t.x0) * j.c, j.c);
}

template <class T>
void run_tile(const Job<T>& j, const FeedForwardTile& t, const WeightSums<T>& sums) {
  const std::int64_t size = (kBandRows + 2 * kMargin) * (kTileColumns + 2 * kMargin) * kHidden;
  const std::int64_t pixels = kMostRows * kTileColumns;
  T* h = scratch<HiddenScratch, T>(size);
  const Buffers<T> b{
      scratch<ActiveScratch, T>(size),       scratch<SlopeScratch, T>(size),
      scratch<GradientScratch, T>(size),     scratch<DenseScratch, T>(size),
      scratch<InputPanels, T>(pixels * j.c), scratch<OutputPanels, T>(pixels * j.out)};
  pack_tile(j, t, j.x, j.c, b.x_panels);
  pack_tile(j, t, j.dy, j.out, b.dy_panels);
  for (std::int64_t first = 0; first < j.hidden; first += kHidden) {
    FeedForwardBand<T> band{first, std::min(kHidden, j.hidden - first), 0, 0, h};
    std::int64_t done = std::max<std::int64_t>(0, t.y0 - 1);  // rows of dz
    for (std::int64_t r = t.y0; r < t.y1; r += kBandRows) {
      const std::int64_t end = std::min(t.y1, r + kBandRows), before = band.top;
      expand(j, t, std::max<std::int64_t>(0, r - kMargin), std::min(j.h, end + kMargin), band);
      move_rows(b.dz, band.row(t), before, band.top, std::max<std::int64_t>(0, r - 1), done);
      const std::int64_t until = std::min(j.h, end + 1);
      slope_rows(j, t, band, done, until, b, sums);
      done = until;
      gradient_rows(j, t, band, r, end, b, sums);
    }
  }
}

// The sums of all pieces one after another, zeros.
template <class T>
struct PieceSums {
  std::int64_t pieces, expand, bias, contract, taps;
  Tensor all;
  PieceSums(const Job<T>& j)
      : pieces(std::min(kPieces, j.tiles())),
        expand(j.hidden * j.c),
        bias(j.hidden),
        contract(j.hidden * j.out),
        taps(10 * j.hidden),
        all(Tensor::zeros({pieces * (expand + bias + contract + taps)}, dtype_of<T>)) {}
  WeightSums<T> of(std::int64_t piece) {
    T *e = all.data<T>(), *b = e + pieces * expand, *c = b + pieces * bias,
      *t = c + pieces * contract;
    return {e + piece * expand, b + piece * bias, c + piece * contract, t + piece * taps};
  }
};

template <class T>
FeedForwardGradients backward(const Tensor& x, const FeedForwardWeights& f, const Tensor& dy) {
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  const std::int64_t hidden = f.expand.dim(0), out = f.contract.dim(0);
  const Tensor w1 = packed_transpose<T>(f.expand), back1 = packed_weight<T>(f.expand);
  const Tensor back2 = packed_weight<T>(f.contract);
  const Tensor taps = Tensor::empty({2, 10 * hidden}, x.dtype());
  T* const flipped = taps.data<T>() + 10 * hidden;
  depthwise_square_pack(f.taps.data<T>(), data_or_null<const T>(f.taps_bias), 9, hidden, false,
                        taps.data<T>());
  depthwise_square_pack<T>(f.taps.data<T>(), nullptr, 9, hidden, true, flipped);
  const std::int64_t rows =
      std::clamp(kTileNumbers / (kTileColumns * (c + out)), kLeastRows, kMostRows) / kBandRows *
      kBandRows;
  FeedForwardGradients g;
  g.dx = Tensor::empty(x.shape(), x.dtype());
  const Job<T> job{{n, h, w, c, hidden, out, rows, x.data<T>(), w1.data<T>(),
                    data_or_null<const T>(f.expand_bias), taps.data<T>()},
                   dy.data<T>(),
                   back1.data<T>(),
                   back2.data<T>(),
                   flipped,
                   g.dx.data<T>()};
  PieceSums<T> sums(job);
  parallel_tasks(sums.pieces, [&](std::int64_t piece) {
    const std::int64_t tiles = job.tiles();
    for (std::int64_t i = tiles * piece / sums.pieces; i < tiles * (piece + 1) / sums.pieces; ++i)
      run_tile(job, tile_at(job, i, kMargin), sums.of(piece));
  });
  const auto total = [&](const T* of_pieces, const Shape& shape) {
    Tensor t = Tensor::empty(shape, x.dtype());
    sum_pieces(of_pieces, sums.pieces, shape.numel(), t.data<T>());
    return t;
  };
  const WeightSums<T> all = sums.of(0);
  g.dweights.expand = total(all.expand, f.expand.shape());
  g.dweights.expand_bias = total(all.expand_bias, {hidden});
  g.dweights.contract = total(all.contract, {hidden, out}).transpose(0, 1).contiguous();
  g.dweights.contract_bias = sum_to(dy, {out});
  g.dweights.taps = Tensor::empty(f.taps.shape(), x.dtype());
  g.dweights.taps_bias = Tensor::empty({hidden}, x.dtype());
  depthwise_square_unpack_sums(all.taps, sums.pieces, 9, hidden, g.dweights.taps.data<T>(),
                               g.dweights.taps_bias.data<T>());
  return g;
}

}  // namespace

FeedForwardGradients CpuBackend::feed_forward_backward(const Tensor& x, const FeedForwardWeights& f,
                                                       const Tensor& dy) {
  OpScope scope(costs::feed_forward_backward(x, f, dy));
  if (!trains_feed_forward(x, f)) return Fused::feed_forward_backward(x, f, dy);
  return dispatch_float(x.dtype(), "feed_forward",
                        [&]<class T>(T) { return backward<T>(x, f, dy); });
}

}  // namespace nextgrad::cpu
