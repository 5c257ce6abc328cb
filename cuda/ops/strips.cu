// Multi-scale strips forward: all branches' row strips, column strips and their sum in one kernel;
// what it keeps where is in strips_march.h. A row's results go straight to the sums of the 21 rows
// of y that see them, so that neither they nor a branch's sum ever exist.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "cuda/ops/strips.h"
#include "cuda/ops/strips_march.h"

namespace nextgrad::cuda {

namespace {

// Adds row y of x and its strips to the window, whose row `u + kReach` is y.
template <class C>
__device__ __forceinline__ void add_row(const C* x, int u, const C (&row)[kStripTaps],
                                        const C (&row_bias)[kStrips], const C (&column)[kStripTaps],
                                        C (&window)[kWindow][kPixels]) {
  C r[kStrips][kPixels];
  convolve_row(x, row, row_bias, r, [&](int p, C own) { window[u + kReach][p] += own; });
#pragma unroll
  for (int b = 0; b < kStrips; ++b) {
#pragma unroll
    for (int i = 0; i < strip_size(b); ++i) {
#pragma unroll
      for (int p = 0; p < kPixels; ++p)
        window[u + kReach + strip_size(b) / 2 - i][p] += column[strip_first(b) + i] * r[b][p];
    }
  }
}

// The first kChunk rows of the window, from row y of the image on, are complete: writes them, and
// moves the others up.
template <class T>
__device__ __forceinline__ void finish_rows(const StripsShape& s, const StripsTile& t, int y,
                                            Compute<T> bias, Compute<T> (&window)[kWindow][kPixels],
                                            T* out) {
#pragma unroll
  for (int u = 0; u < kChunk; ++u) {
    if (y + u < t.y0 || y + u >= t.y1 || t.lane >= t.channels) continue;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int x = t.x0 + t.column + p;
      if (x < s.w)
        out[t.image + (static_cast<std::int64_t>(y + u) * s.w + x) * s.c + t.lane] =
            narrow<T>(window[u][p] + bias);
    }
  }
#pragma unroll
  for (int u = 0; u < kWindow; ++u) {
#pragma unroll
    for (int p = 0; p < kPixels; ++p)
      window[u][p] = u + kChunk < kWindow ? window[(u + kChunk) % kWindow][p] : Compute<T>{0};
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kStripThreads)
    march_strips(StripsShape s, StripTaps<Compute<T>> rows, StripTaps<Compute<T>> columns,
                 bool flip, const T* __restrict__ x, T* __restrict__ y) {
  using C = Compute<T>;
  auto* lines = shared_memory<C>();  // two buffers
  const StripsTile t = strips_tile(s);
  C row[kStripTaps], column[kStripTaps], row_bias[kStrips], bias = 0;
  load_taps(rows, s, t, flip, row);
  load_taps(columns, s, t, flip, column);
#pragma unroll
  for (int b = 0; b < kStrips; ++b) {
    row_bias[b] = load_bias(rows.bias[b], s, t);
    bias += load_bias(columns.bias[b], s, t);
  }
  C window[kWindow][kPixels] = {};
  ChunkInFlight<T, N> next;
  int at = t.y0 - kReach;
  while (at + kChunk <= 0) at += kChunk;  // rows above the image
  next.fetch(s, t, x, at);
  next.put(lines);
  __syncthreads();
  for (int buffer = 0; at < t.y1 + kReach; at += kChunk, buffer ^= 1) {
    if constexpr (N > 1) next.fetch(s, t, x, at + kChunk);
    const C* mine = lines + buffer * kLines + t.column * 32 + t.lane;
#pragma unroll
    for (int u = 0; u < kChunk; ++u) {
      if (at + u >= 0 && at + u < s.h)
        add_row(mine + u * kLine * 32, u, row, row_bias, column, window);
    }
    finish_rows(s, t, at - kReach, bias, window, y);
    if constexpr (N == 1) next.fetch(s, t, x, at + kChunk);  // too many to keep
    next.put(lines + (buffer ^ 1) * kLines);
    __syncthreads();
  }
}

template <class T>
void run(cudaStream_t stream, const StripsShape& s, const Tensor& x,
         const std::vector<Strip>& strips, bool transpose, Tensor& y) {
  using C = Compute<T>;
  StripTaps<C> rows{}, columns{};
  for (std::size_t b = 0; b < kStrips; ++b) {
    rows.taps[b] = strips[b].row.data<C>();
    columns.taps[b] = strips[b].column.data<C>();
    if (transpose) continue;
    rows.bias[b] = data_or_null<const C>(strips[b].row_bias);
    columns.bias[b] = data_or_null<const C>(strips[b].column_bias);
  }
  const auto bytes = 2 * sizeof(C) * kLines;
  launch("strips", strips_packable<T>(x) ? march_strips<T, 4> : march_strips<T, 1>,
         strips_grid(s, bytes), stream, s, rows, columns, transpose, x.data<T>(), y.data<T>());
}

// Branch by branch, through memory; bf16 is widened before and rounded once.
Tensor composed(CudaBackend& backend, const Tensor& x, const std::vector<Strip>& strips) {
  const Tensor in = x.to(parameter_dtype(x.dtype()));
  Tensor y = in;
  for (const Strip& strip : strips) {
    const int k = static_cast<int>(strip.row.dim(1));
    const Tensor r =
        backend.depthwise(in, strip.row, strip.row_bias, {}, {.kw = k, .pad_w = k / 2});
    y = backend.depthwise(r, strip.column, strip.column_bias, y, {.kh = k, .pad_h = k / 2});
  }
  return strips.empty() ? x.clone() : y.to(x.dtype());
}

}  // namespace

bool fused_strips(const Tensor& x, const std::vector<Strip>& strips) {
  bool fits = x.dtype() != DType::f64 && strips.size() == kStrips;
  for (int b = 0; fits && b < kStrips; ++b)
    fits = strips[static_cast<std::size_t>(b)].row.dim(1) == strip_size(b);
  return fits;
}

double strips_flops(const Tensor& x, const std::vector<Strip>& strips) {
  double taps = 0;
  for (const Strip& strip : strips) taps += 2.0 * static_cast<double>(strip.row.dim(1));
  return 2.0 * taps * static_cast<double>(x.numel());
}

void run_strips(cudaStream_t stream, int processors, const Tensor& x,
                const std::vector<Strip>& strips, bool transpose, Tensor& y) {
  if (x.numel() == 0) return;
  const StripsShape s = strips_shape(x, processors, 2 * kReach);
  if (x.dtype() == DType::bf16)
    run<bfloat16>(stream, s, x, strips, transpose, y);
  else
    run<float>(stream, s, x, strips, transpose, y);
}

Tensor CudaBackend::strips(const Tensor& x, const std::vector<Strip>& strips) {
  if (!fused_strips(x, strips)) return composed(*this, x, strips);
  Scope scope(*this, "strips", strips_flops(x, strips), 2.0 * static_cast<double>(x.nbytes()));
  Tensor y = empty_like(x);
  run_strips(stream_, properties_.multiProcessorCount, x, strips, false, y);
  return y;
}

}  // namespace nextgrad::cuda
