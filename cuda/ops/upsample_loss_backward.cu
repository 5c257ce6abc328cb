// The gradient of upsampled cross entropy, by cells (taps.h). A thread owns a class and
// walks the pixels of a row of cells, which gives each cell's share in its four corners; what it
// has for the upper and the lower corners goes to two arrays, which are added at the end.
#include "cuda/kit/index.h"
#include "cuda/kit/taps.h"
#include "cuda/ops/loss.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

constexpr int kSegment = 8;                      // source columns of a block
constexpr int kTileColumns = 32, kTileRows = 8;  // output pixels in shared memory

// What a pixel has to say in the backward: its share in class k's gradient is
// q e^(v - log_sum) - (k == label ? h : 0), without label smoothing.
template <class C>
struct alignas(4 * sizeof(C)) Record {
  C log_sum, q, h;
  int label;  // -1: none
};

template <class T>
struct GradientWork {
  Target<Compute<T>> target;
  const T* logits;
  const Compute<T>*log_sum, *dloss;
  const double* normaliser;
  Compute<T>* halves;  // [2][N,h,w,K]
  int segments;
};

template <class C>
struct Tile {
  Record<C> pixel[kTileColumns][kTileRows];
  C tx[kTileColumns], ty[kTileRows];
};

// Fills the tile with output rows [o, o + rows) and columns [x, x + columns).
template <class T>
__device__ __forceinline__ void load_tile(const GradientWork<T>& g, const UpsampleShape& s,
                                          std::int64_t image, std::int64_t o, int rows,
                                          std::int64_t x, int columns, double scale,
                                          double smooth_sum, Tile<Compute<T>>& tile) {
  using C = Compute<T>;
  const int threads = static_cast<int>(blockDim.x), me = static_cast<int>(threadIdx.x);
  for (int i = me; i < rows; i += threads) tile.ty[i] = tap_at<C>(s.rows, o + i).t;
  for (int i = me; i < columns; i += threads) tile.tx[i] = tap_at<C>(s.columns, x + i).t;
  for (int i = me; i < rows * columns; i += threads) {
    const int r = i / columns, j = i - r * columns;
    const std::int64_t pixel = (image * s.oh + o + r) * s.ow + x + j;
    const int label = g.target.label(pixel, false);
    Record<C> record{C(INFINITY), 0, 0, -1};
    if (label >= 0) {
      const double hot = g.target.weight(label) * g.target.hot;
      record = {g.log_sum[pixel], static_cast<C>(scale * (hot + smooth_sum)),
                static_cast<C>(scale * hot), label};
    }
    tile.pixel[j][r] = record;
  }
}

// A class of a cell: its logits and gradients at the corners.
template <class C>
struct CellClass {
  C a0 = 0, a1 = 0, b0 = 0, b1 = 0;
  C da0 = 0, da1 = 0, db0 = 0, db1 = 0;
};

// Adds the tile's pixels. `smooth`: what label smoothing takes from the class at every pixel.
template <bool smoothed, class C>
__device__ __forceinline__ void add_tile(const Tile<C>& tile, int rows, int columns, int k,
                                         C smooth, CellClass<C>& cell) {
  for (int j = 0; j < columns; ++j) {
    const C tx = tile.tx[j], upper = blend(cell.a0, cell.a1, tx);
    const C lower = blend(cell.b0, cell.b1, tx);
    C all = 0, low = 0;
#pragma unroll 4
    for (int r = 0; r < rows; ++r) {
      const Record<C> p = tile.pixel[j][r];
      const C ty = tile.ty[r];
      C e = p.q * exp_below(blend(upper, lower, ty), p.log_sum);
      if (p.label == k) e -= p.h;
      if (smoothed && p.label >= 0) e -= smooth;
      all += e;
      low = std::fma(ty, e, low);
    }
    const C up = all - low;
    cell.da0 += (C(1) - tx) * up;
    cell.da1 += tx * up;
    cell.db0 += (C(1) - tx) * low;
    cell.db1 += tx * low;
  }
}

template <class T, bool smoothed>
__global__ void upsampled_gradient(GradientWork<T> g, UpsampleShape s) {
  using C = Compute<T>;
  __shared__ Tile<C> tile;
  const std::int64_t row = blockIdx.x / static_cast<unsigned>(g.segments);
  const std::int64_t first =
      std::int64_t{kSegment} * (blockIdx.x % static_cast<unsigned>(g.segments));
  const std::int64_t last = first + kSegment < s.w ? first + kSegment : s.w;
  const std::int64_t image = row / s.h, y = row % s.h;
  const std::int64_t top = start_of(s.rows, y), bottom = start_of(s.rows, y + 1);
  const int k = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const double scale = static_cast<double>(*g.dloss) / *g.normaliser;
  __shared__ double scratch[32];
  const double smooth_sum = smoothed ? g.target.smooth_sum(scratch) : 0;
  const C smooth =
      smoothed && k < s.k ? static_cast<C>(scale * g.target.smooth * g.target.weight(k)) : C(0);
  const T* above = g.logits + row * s.w * s.k + k;
  const T* below = y + 1 < s.h ? above + s.w * s.k : above;
  CellClass<C> cell;
  const std::int64_t begin = first > 0 ? first - 1 : 0;  // for what it adds to its right corners
  if (k < s.k) cell.a1 = widen(above[begin * s.k]), cell.b1 = widen(below[begin * s.k]);
  for (std::int64_t i = begin; i < last; ++i) {
    cell = {cell.a1, cell.a1, cell.b1, cell.b1, cell.da1, 0, cell.db1, 0};
    if (k < s.k && i + 1 < s.w)
      cell.a1 = widen(above[(i + 1) * s.k]), cell.b1 = widen(below[(i + 1) * s.k]);
    const std::int64_t left = start_of(s.columns, i), right = start_of(s.columns, i + 1);
    for (std::int64_t x = left; x < right; x += kTileColumns) {
      const int columns = static_cast<int>(right - x < kTileColumns ? right - x : kTileColumns);
      for (std::int64_t o = top; o < bottom; o += kTileRows) {
        const int rows = static_cast<int>(bottom - o < kTileRows ? bottom - o : kTileRows);
        load_tile(g, s, image, o, rows, x, columns, scale, smooth_sum, tile);
        __syncthreads();
        add_tile<smoothed>(tile, rows, columns, k, smooth, cell);
        __syncthreads();
      }
    }
    if (i < first || k >= s.k) continue;
    const std::int64_t to = (row * s.w + i) * s.k + k;
    g.halves[to] = cell.da0;
    g.halves[to + s.n * s.h * s.w * s.k] = cell.db0;
  }
}

// dlogits of a source row: the upper corners of its cells, and the lower ones of those above.
template <class T, int N>
__global__ void add_halves(const Compute<T>* halves, T* dlogits, std::int64_t h, RowWork work) {
  const std::int64_t wide = std::int64_t{work.columns} * N;
  for_each_pack(work, [&](std::int64_t row, int column, int) {
    const std::int64_t at = row * wide + std::int64_t{column} * N;
    Compute<T> upper[N], lower[N] = {};
    load<N>(halves + at, upper);
    if (row % h > 0) load<N>(halves + work.rows * wide + at - wide, lower);
    unroll<N>([&](int i) { upper[i] += lower[i]; });
    store<N>(dlogits + at, upper);
  });
}

}  // namespace

Tensor CudaBackend::upsample_cross_entropy_backward(const Tensor& logits,
                                                    const CrossEntropyTarget& t,
                                                    const CrossEntropyResult& r,
                                                    const Tensor& dloss) {
  const UpsampleShape s = upsample_shape(logits, t.labels.dim(1), t.labels.dim(2));
  Scope scope(*this, costs::upsample_cross_entropy_backward(logits, t.labels));
  Tensor dlogits = empty_like(logits);
  if (logits.numel() == 0) return dlogits;
  const Tensor halves = empty({2, logits.numel()}, parameter_dtype(logits.dtype()));
  dispatch_activation(logits.dtype(), "upsample_cross_entropy_backward", [&]<class T>() {
    using C = Compute<T>;
    const int segments = static_cast<int>(parts_of(s.w, kSegment));
    const Target<C> target(logits, t, fault_);
    const GradientWork<T> work{target,
                               logits.data<T>(),
                               r.log_sum.data<C>(),
                               dloss.data<C>(),
                               r.normaliser.data<double>(),
                               halves.data<C>(),
                               segments};
    const std::int64_t threads = s.k >= kThreads ? kThreads : parts_of(s.k, 32) * 32;
    launch("upsample_cross_entropy_backward",
           target.smooth != 0 ? upsampled_gradient<T, true> : upsampled_gradient<T, false>,
           {dim3(s.n * s.h * segments, parts_of(s.k, threads)), dim3(threads)}, stream_, work, s);
    constexpr int N = sizeof(T) == 2 ? 4 : kPack<T>;  // of halves, at most 16 bytes
    const std::int64_t wide = s.w * s.k;
    const bool packs = wide % N == 0 && aligned({halves, dlogits}, N * sizeof(T));
    const RowWork rows(s.n * s.h, wide / (packs ? N : 1), 1);
    launch("add_halves", packs ? add_halves<T, N> : add_halves<T, 1>, rows.grid(), stream_, halves,
           dlogits, s.h, rows);
  });
  return dlogits;
}

}  // namespace nextgrad::cuda
