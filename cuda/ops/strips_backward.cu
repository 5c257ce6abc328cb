// Multi-scale strips backward. dx is the forward kernel run on dy with all taps turned round. The
// gradients of taps take one kernel each for columns and rows, marching as strips_march.h says,
// with rows of dy in the window: a block leaves the sums of its tile, which are then added in
// order.
//
//   columns:  r = row(x) + bias,  dcolumn[t] = sum of r dy[y + p - t],  dbias = sum of dy
//   rows:     g = column'(dy),    drow[t] = sum of g x[x - p + t],      dbias = sum of g
//
// ' turns taps round; each is 2 x 39 multiply-adds per number of x.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/partials.h"
#include "cuda/ops/strips.h"
#include "cuda/ops/strips_march.h"

namespace nextgrad::cuda {

namespace {

// A block's sums per channel: all taps, then the biases of all strips.
constexpr int kSums = kStripTaps + kStrips;

// Rows [y + from, y + kWindow) of dy at this thread's pixels, into the window's rows `from` on.
template <class T>
__device__ __forceinline__ void load_window(const StripsShape& s, const StripsTile& t, const T* dy,
                                            int y, int from,
                                            Compute<T> (&window)[kWindow][kPixels]) {
#pragma unroll
  for (int u = 0; u < kWindow; ++u) {
    if (u < from) continue;
    const int row = y + u;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int x = t.x0 + t.column + p;
      const bool inside = row >= 0 && row < s.h && x < s.w && t.lane < t.channels;
      window[u][p] =
          inside ? widen(dy[t.image + (static_cast<std::int64_t>(row) * s.w + x) * s.c + t.lane])
                 : Compute<T>{0};
    }
  }
}

// Products of one row's strips with the rows of dy that see it; row u + kReach of the window is
// the row itself.
template <class C>
__device__ __forceinline__ void column_products(const C* x, int u, const C (&row)[kStripTaps],
                                                const C (&bias)[kStrips],
                                                const C (&window)[kWindow][kPixels],
                                                C (&sum)[kSums]) {
  C r[kStrips][kPixels];
  convolve_row(x, row, bias, r, [](int, C) {});
#pragma unroll
  for (int b = 0; b < kStrips; ++b) {
#pragma unroll
    for (int i = 0; i < strip_size(b); ++i) {
#pragma unroll
      for (int p = 0; p < kPixels; ++p)
        sum[strip_first(b) + i] += r[b][p] * window[u + kReach + strip_size(b) / 2 - i][p];
    }
  }
#pragma unroll
  for (int p = 0; p < kPixels; ++p) sum[kStripTaps] += window[u + kReach][p];
}

// Products of x with the transposed column strips of dy at one row.
template <class C>
__device__ __forceinline__ void row_products(const C* x, int u, const C (&column)[kStripTaps],
                                             const C (&window)[kWindow][kPixels], C (&sum)[kSums]) {
  C g[kStrips][kPixels] = {};
#pragma unroll
  for (int b = 0; b < kStrips; ++b) {
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
#pragma unroll
      for (int i = 0; i < strip_size(b); ++i)
        g[b][p] += column[strip_first(b) + i] * window[u + kReach + strip_size(b) / 2 - i][p];
      sum[kStripTaps + b] += g[b][p];
    }
  }
#pragma unroll
  for (int j = 0; j < kTaken; ++j) {
    const C v = x[j * 32];
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
#pragma unroll
      for (int b = 0; b < kStrips; ++b) {
        const int tap = j - p - kReach + strip_size(b) / 2;
        if (tap >= 0 && tap < strip_size(b)) sum[strip_first(b) + tap] += g[b][p] * v;
      }
    }
  }
}

// Adds the warps' sums up: partials [kSums][c] of this block's tile. Uses all shared memory.
template <class C>
__device__ __forceinline__ void leave_sums(const StripsShape& s, const StripsTile& t, C* shared,
                                           const C (&sum)[kSums], C* partials) {
  const int me = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kSums; ++i) shared[i * kStripThreads + me] = sum[i];
  __syncthreads();
  const std::int64_t tile = blockIdx.x / static_cast<unsigned>(s.slices);
  const int c0 = static_cast<int>(blockIdx.x % static_cast<unsigned>(s.slices)) * 32;
  if (t.lane >= t.channels) return;
  for (int i = me / 32; i < kSums; i += kWarps) {
    C total = 0;
    for (int warp = 0; warp < kWarps; ++warp)
      total += shared[i * kStripThreads + warp * 32 + t.lane];
    partials[(tile * kSums + i) * s.c + c0 + t.lane] = total;
  }
}

// `Rows`: gradients of the row strips, by the taps of columns; otherwise the other way round.
template <class T, int N, bool Rows>
__global__ void __launch_bounds__(kStripThreads)
    march_strip_gradients(StripsShape s, StripTaps<Compute<T>> from, const T* __restrict__ x,
                          const T* __restrict__ dy, Compute<T>* __restrict__ partials) {
  using C = Compute<T>;
  auto* lines = shared_memory<C>();  // two buffers; then the sums
  const StripsTile t = strips_tile(s);
  C taps[kStripTaps], bias[kStrips], sum[kSums] = {}, window[kWindow][kPixels];
  load_taps(from, s, t, false, taps);
#pragma unroll
  for (int b = 0; b < kStrips; ++b) bias[b] = load_bias(from.bias[b], s, t);
  ChunkInFlight<T, N> next;
  next.fetch(s, t, x, t.y0);
  next.put(lines);
  load_window(s, t, dy, t.y0 - kReach, 0, window);
  __syncthreads();
  int buffer = 0;
  for (int at = t.y0; at < t.y1; at += kChunk, buffer ^= 1) {
    if constexpr (N > 1) next.fetch(s, t, x, at + kChunk);
    const C* mine = lines + buffer * kLines + t.column * 32 + t.lane;
#pragma unroll
    for (int u = 0; u < kChunk; ++u) {
      if (at + u >= t.y1) continue;
      if constexpr (Rows)
        row_products(mine + u * kLine * 32, u, taps, window, sum);
      else
        column_products(mine + u * kLine * 32, u, taps, bias, window, sum);
    }
#pragma unroll
    for (int u = 0; u + kChunk < kWindow; ++u) {
#pragma unroll
      for (int p = 0; p < kPixels; ++p) window[u][p] = window[u + kChunk][p];
    }
    load_window(s, t, dy, at + kChunk - kReach, kWindow - kChunk, window);
    if constexpr (N == 1) next.fetch(s, t, x, at + kChunk);  // too many to keep
    next.put(lines + (buffer ^ 1) * kLines);
    __syncthreads();
  }
  leave_sums(s, t, lines, sum, partials);
}

// One kernel and the sums of its partials, [kSums][c] of every tile, into `taps` and `biases`.
template <class T, bool Rows>
void tap_gradients(cudaStream_t stream, const StripsShape& s, const Tensor& x,
                   const std::vector<Strip>& strips, const Tensor& dy, const Tensor& partials,
                   StripsGradients& g) {
  using C = Compute<T>;
  StripTaps<C> from{};
  for (std::size_t b = 0; b < kStrips; ++b) {
    from.taps[b] = (Rows ? strips[b].column : strips[b].row).data<C>();
    if (!Rows) from.bias[b] = data_or_null<const C>(strips[b].row_bias);
  }
  constexpr int kElements = std::max(2 * kLines, kSums * kStripThreads);
  const bool packs = strips_packable<T>(x);
  launch("strip_gradients",
         packs ? march_strip_gradients<T, 4, Rows> : march_strip_gradients<T, 1, Rows>,
         strips_grid(s, sizeof(C) * kElements), stream, s, from, x.data<T>(), dy.data<T>(),
         partials.data<C>());
  const int tiles = static_cast<int>(partials.dim(0));
  const std::int64_t c = s.c, pitch = kSums * c;
  const C* sums = partials.data<C>();
  for (int b = 0; b < kStrips; ++b) {
    Strip& d = g.dstrips[static_cast<std::size_t>(b)];
    add_partials(stream, sums + strip_first(b) * c, tiles, pitch, strip_size(b) * c,
                 (Rows ? d.row : d.column).data<C>());
    const Tensor& bias = Rows ? d.row_bias : d.column_bias;
    const int at = kStripTaps + (Rows ? b : 0);  // the sum of dy is the same for all strips
    if (bias.defined()) add_partials(stream, sums + at * c, tiles, pitch, c, bias.data<C>());
  }
}

// Branch by branch, through memory; bf16 is widened before and rounded once.
StripsGradients composed(CudaBackend& backend, const Tensor& x, const std::vector<Strip>& strips,
                         const Tensor& dy) {
  const DType parameters = parameter_dtype(x.dtype());
  const Tensor in = x.to(parameters), gradient = dy.to(parameters);
  Tensor dx = gradient.clone();
  StripsGradients g;
  for (const Strip& strip : strips) {
    const int k = static_cast<int>(strip.row.dim(1));
    const Window row{.kw = k, .pad_w = k / 2}, column{.kh = k, .pad_h = k / 2};
    const Tensor r = backend.depthwise(in, strip.row, strip.row_bias, {}, row);
    const ConvGradients c = backend.depthwise_backward(r, strip.column, gradient, column,
                                                       {true, true, strip.column_bias.defined()});
    const ConvGradients d = backend.depthwise_backward(in, strip.row, c.dx, row,
                                                       {true, true, strip.row_bias.defined()});
    backend.axpy(dx, d.dx, 1);
    g.dstrips.push_back({d.dweight, d.dbias, c.dweight, c.dbias});
  }
  g.dx = dx.to(x.dtype());
  return g;
}

}  // namespace

StripsGradients CudaBackend::strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                             const Tensor& dy) {
  if (!fused_strips(x, strips) || x.numel() == 0) return composed(*this, x, strips, dy);
  // Two transposed strips, two gradients of taps, and both results once more.
  Scope scope(*this, "strips backward", 3.0 * strips_flops(x, strips),
              3.0 * static_cast<double>(x.nbytes()));
  StripsGradients g;
  g.dx = empty_like(x);
  const auto like = [&](const Tensor& t) { return t.defined() ? empty_like(t) : Tensor(); };
  for (const Strip& strip : strips)
    g.dstrips.push_back(
        {like(strip.row), like(strip.row_bias), like(strip.column), like(strip.column_bias)});
  const int processors = properties_.multiProcessorCount;
  run_strips(stream_, processors, dy, strips, true, g.dx);
  const StripsShape s = strips_shape(x, processors, kChunk);
  const Tensor partials =
      empty({s.n * s.bands * s.tiles, kSums, std::int64_t{s.c}}, parameter_dtype(x.dtype()));
  const auto both = [&](auto zero) {
    using T = decltype(zero);
    tap_gradients<T, true>(stream_, s, x, strips, dy, partials, g);
    tap_gradients<T, false>(stream_, s, x, strips, dy, partials, g);
  };
  if (x.dtype() == DType::bf16)
    both(bfloat16{});
  else
    both(float{});
  return g;
}

}  // namespace nextgrad::cuda
