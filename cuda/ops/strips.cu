// Multi-scale strips: all branches' row strips, column strips and their sum in one kernel; what it
// keeps where is in strips_march.h. A row's results go straight to the sums of the 21 rows of y
// that see them, so that neither they nor a branch's sum ever exist.
//
// Backward, dx is the forward kernel run on dy with all taps turned round. The gradients of taps
// take one kernel each for columns and rows, marching likewise with rows of dy in the window: a
// block leaves the sums of its tile, which are then added in order.
//
//   columns:  r = row(x) + bias,  dcolumn[t] = sum of r dy[y + p - t],  dbias = sum of dy
//   rows:     g = column'(dy),    drow[t] = sum of g x[x - p + t],      dbias = sum of g
//
// ' turns taps round; each is 2 x 39 multiply-adds per number of x.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/sums.h"
#include "cuda/ops/strips_march.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

// Adds row u of a chunk of x and its strips to the window.
template <class C>
__device__ __forceinline__ void add_row(const C* line, int u, const C (&row)[kStripTaps],
                                        const C (&row_bias)[kStrips], const C (&column)[kStripTaps],
                                        Rows<C>& window) {
  C r[kStrips][kPixels];
  convolve_row(line, row, row_bias, r);
  unroll<kPixels>([&](int p) { window[u + kReach][p] += line[(kReach + p) * 32]; });
  for_taps([&](int b, int i, int p) {
    window[row_of(u, b, i)][p] += column[strip_first(b) + i] * r[b][p];
  });
}

// The first kRowsAtOnce rows of the window, from row y of the image on, are complete: writes them.
template <class T>
__device__ __forceinline__ void write_rows(const StripsShape& s, const StripsTile& t, int y,
                                           Compute<T> bias, const Rows<Compute<T>>& window,
                                           T* out) {
  unroll<kRowsAtOnce>([&](int u) {
    if (y + u < t.y0 || y + u >= t.y1 || t.lane >= t.channels) return;
    unroll<kPixels>([&](int p) {
      const int x = t.x0 + t.column + p;
      if (x < s.w)
        out[t.image + (std::int64_t{y + u} * s.w + x) * s.c + t.lane] =
            narrow<T>(window[u][p] + bias);
    });
  });
}

template <class T>
__global__ void __launch_bounds__(kStripThreads)
    march_strips(StripsShape s, StripTaps<Compute<T>> rows, StripTaps<Compute<T>> columns,
                 bool flip, const T* __restrict__ x, T* __restrict__ y) {
  using C = Compute<T>;
  const StripsTile t = strips_tile(s);
  C row[kStripTaps], column[kStripTaps], row_bias[kStrips], bias = 0;
  load_taps(rows, s, t, flip, row);
  load_taps(columns, s, t, flip, column);
  unroll<kStrips>([&](int b) {
    row_bias[b] = load_bias(rows.bias[b], s, t);
    bias += load_bias(columns.bias[b], s, t);
  });
  Rows<C> window = {};
  int first = t.y0 - kReach;
  while (first + kRowsAtOnce <= 0) first += kRowsAtOnce;  // rows above the image
  march_rows<T>(s, t, x, first, t.y1 + kReach, shared_memory<C>(), [&](int at, const C* line) {
    unroll<kRowsAtOnce>([&](int u) {
      if (at + u >= 0 && at + u < s.h)
        add_row(line + u * kLine * 32, u, row, row_bias, column, window);
    });
    write_rows(s, t, at - kReach, bias, window, y);
    move_up(window);
  });
}

// --- gradients of taps ---

// A block's sums per channel: all taps, then the biases of all strips.
constexpr int kSums = kStripTaps + kStrips;

// Rows [y + from, y + kWindow) of dy at this thread's pixels, into the window's rows `from` on.
template <class T>
__device__ __forceinline__ void load_window(const StripsShape& s, const StripsTile& t, const T* dy,
                                            int y, int from, Rows<Compute<T>>& window) {
  unroll<kWindow>([&](int u) {
    if (u < from) return;
    const int row = y + u;
    unroll<kPixels>([&](int p) {
      const int x = t.x0 + t.column + p;
      const bool inside = row >= 0 && row < s.h && x < s.w && t.lane < t.channels;
      window[u][p] =
          inside ? widen(dy[t.image + (static_cast<std::int64_t>(row) * s.w + x) * s.c + t.lane])
                 : Compute<T>{0};
    });
  });
}

// Products of one row's strips with the rows of dy that see it.
template <class C>
__device__ __forceinline__ void column_products(const C* line, int u, const C (&row)[kStripTaps],
                                                const C (&bias)[kStrips], const Rows<C>& window,
                                                C (&sum)[kSums]) {
  C r[kStrips][kPixels];
  convolve_row(line, row, bias, r);
  for_taps([&](int b, int i, int p) {
    sum[strip_first(b) + i] += r[b][p] * window[row_of(u, b, i)][p];
  });
  unroll<kPixels>([&](int p) { sum[kStripTaps] += window[u + kReach][p]; });
}

// Products of x with the transposed column strips of dy at one row.
template <class C>
__device__ __forceinline__ void row_products(const C* line, int u, const C (&column)[kStripTaps],
                                             const Rows<C>& window, C (&sum)[kSums]) {
  C g[kStrips][kPixels] = {};
  for_taps([&](int b, int i, int p) {
    g[b][p] += column[strip_first(b) + i] * window[row_of(u, b, i)][p];
  });
  unroll<kStrips, kPixels>([&](int b, int p) { sum[kStripTaps + b] += g[b][p]; });
  for_row_taps(line, [&](int b, int i, int p, C v) { sum[strip_first(b) + i] += g[b][p] * v; });
}

// Adds the warps' sums up: partials [2][kSums][c] of this block's tile, rows' first. Uses all
// shared memory.
template <bool of_rows, class C>
__device__ __forceinline__ void leave_sums(const StripsShape& s, const StripsTile& t, C* shared,
                                           const C (&sum)[kSums], C* partials) {
  const int me = static_cast<int>(threadIdx.x);
  unroll<kSums>([&](int i) { shared[i * kStripThreads + me] = sum[i]; });
  __syncthreads();
  const std::int64_t tile = blockIdx.x / static_cast<unsigned>(s.slices);
  const int c0 = static_cast<int>(blockIdx.x % static_cast<unsigned>(s.slices)) * 32;
  if (t.lane >= t.channels) return;
  for (int i = me / 32; i < kSums; i += kWarps) {
    C total = 0;
    for (int warp = 0; warp < kWarps; ++warp)
      total += shared[i * kStripThreads + warp * 32 + t.lane];
    partials[((tile * 2 + (of_rows ? 0 : 1)) * kSums + i) * s.c + c0 + t.lane] = total;
  }
}

// `of_rows`: gradients of the row strips, by the taps of columns; otherwise the other way round.
template <class T, bool of_rows>
__global__ void __launch_bounds__(kStripThreads)
    march_strip_gradients(StripsShape s, StripTaps<Compute<T>> from, const T* __restrict__ x,
                          const T* __restrict__ dy, Compute<T>* __restrict__ partials) {
  using C = Compute<T>;
  auto* lines = shared_memory<C>();  // two buffers; then the sums
  const StripsTile t = strips_tile(s);
  C taps[kStripTaps], bias[kStrips], sum[kSums] = {};
  Rows<C> window;
  load_taps(from, s, t, false, taps);
  unroll<kStrips>([&](int b) { bias[b] = load_bias(from.bias[b], s, t); });
  load_window(s, t, dy, t.y0 - kReach, 0, window);
  march_rows<T>(s, t, x, t.y0, t.y1, lines, [&](int at, const C* line) {
    unroll<kRowsAtOnce>([&](int u) {
      if (at + u >= t.y1) return;
      if constexpr (of_rows)
        row_products(line + u * kLine * 32, u, taps, window, sum);
      else
        column_products(line + u * kLine * 32, u, taps, bias, window, sum);
    });
    move_up(window);
    load_window(s, t, dy, at + kRowsAtOnce - kReach, kWindow - kRowsAtOnce, window);
  });
  leave_sums<of_rows>(s, t, lines, sum, partials);
}

// --- the host's part ---

// Whether these are strips 7, 11 and 21 long of whole packs, in f32 or bf16: the kernels keep all
// their taps in registers. Others are composed of depth-wise convolutions.
bool fused_strips(const Tensor& x, const std::vector<Strip>& strips) {
  bool fits = x.dtype() != DType::f64 && strips.size() == kStrips && x.numel() > 0 &&
              x.dim(3) % kStripPack == 0 && aligned({x}, kStripPack * size_of(x.dtype()));
  for (int b = 0; fits && b < kStrips; ++b) fits = strips[b].row.dim(1) == strip_size(b);
  return fits;
}

// Calls fn<T>() for fused strips.
template <class Fn>
void dispatch_strips(const Tensor& x, Fn&& fn) {
  x.dtype() == DType::bf16 ? fn.template operator()<bfloat16>() : fn.template operator()<float>();
}

Grid strips_grid(const StripsShape& s, std::size_t shared_bytes) {
  return {dim3(s.n * s.bands * s.tiles * s.slices), dim3(kStripThreads), shared_bytes};
}

template <class C>
StripTaps<C> taps_of(const std::vector<Strip>& strips, Tensor Strip::*taps, Tensor Strip::*bias) {
  StripTaps<C> of{};
  for (int b = 0; b < kStrips; ++b) {
    of.taps[b] = (strips[b].*taps).data<C>();
    if (bias != nullptr && (strips[b].*bias).defined()) of.bias[b] = (strips[b].*bias).data<C>();
  }
  return of;
}

// y = x + sum over strips of column(row(x)), for fused strips. `transpose` turns all taps round and
// leaves biases out: then x is the gradient of the result and y that of the input, as rows and
// columns commute without a bias.
void run_strips(cudaStream_t stream, int processors, const Tensor& x,
                const std::vector<Strip>& strips, bool transpose, Tensor& y) {
  const StripsShape s = strips_shape(x, processors, 2 * kReach);
  dispatch_strips(x, [&]<class T>() {
    using C = Compute<T>;
    launch("strips", march_strips<T>, strips_grid(s, 2 * sizeof(C) * kLines), stream, s,
           taps_of<C>(strips, &Strip::row, transpose ? nullptr : &Strip::row_bias),
           taps_of<C>(strips, &Strip::column, transpose ? nullptr : &Strip::column_bias), transpose,
           x, y);
  });
}

// The gradients of row strips or of column strips: each tile's sums, and where their sums go.
template <bool of_rows>
void tap_gradients(cudaStream_t stream, const StripsShape& s, const Tensor& x,
                   const std::vector<Strip>& strips, const Tensor& dy, const Tensor& partials,
                   const StripsGradients& g, std::vector<ColumnSums>& sums) {
  dispatch_strips(x, [&]<class T>() {
    using C = Compute<T>;
    constexpr int kElements = std::max(2 * kLines, kSums * kStripThreads);
    launch("strip_gradients", march_strip_gradients<T, of_rows>,
           strips_grid(s, sizeof(C) * kElements), stream, s,
           of_rows ? taps_of<C>(strips, &Strip::column, nullptr)
                   : taps_of<C>(strips, &Strip::row, &Strip::row_bias),
           x, dy, partials);
  });
  const std::int64_t first = of_rows ? 0 : std::int64_t{kSums} * s.c;
  for (int b = 0; b < kStrips; ++b) {
    const Strip& d = g.dstrips[b];
    const int bias = kStripTaps + (of_rows ? b : 0);  // the sum of dy is the same for all strips
    sums.push_back({first + std::int64_t{strip_first(b)} * s.c, of_rows ? d.row : d.column});
    sums.push_back({first + std::int64_t{bias} * s.c, of_rows ? d.row_bias : d.column_bias});
  }
}

}  // namespace

Tensor CudaBackend::strips(const Tensor& x, const std::vector<Strip>& strips) {
  Scope scope(*this, costs::strips(x, strips));
  if (!fused_strips(x, strips)) return Fused::strips(x, strips);
  Tensor y = empty_like(x);
  run_strips(stream_, properties_.multiProcessorCount, x, strips, false, y);
  return y;
}

StripsGradients CudaBackend::strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                             const Tensor& dy) {
  Scope scope(*this, costs::strips_backward(x, strips));
  if (!fused_strips(x, strips) || !fused_strips(dy, strips))
    return Fused::strips_backward(x, strips, dy);
  StripsGradients g = empty_strips_gradients(x, strips);
  const int processors = properties_.multiProcessorCount;
  run_strips(stream_, processors, dy, strips, true, g.dx);
  const StripsShape s = strips_shape(x, processors, kRowsAtOnce);
  const Tensor partials =
      empty({s.n * s.bands * s.tiles, 2, kSums, std::int64_t{s.c}}, parameter_dtype(x.dtype()));
  std::vector<ColumnSums> sums;
  tap_gradients<true>(stream_, s, x, strips, dy, partials, g, sums);
  tap_gradients<false>(stream_, s, x, strips, dy, partials, g, sums);
  add_partials(stream_, partials, sums);
  return g;
}

}  // namespace nextgrad::cuda
