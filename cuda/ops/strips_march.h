// Strips of 7, 11 and 21 taps: what the kernels of both passes share.
//
// A block has 32 channels, one a lane, and a tile of columns, kPixels a warp; it marches down a
// band of rows, kRowsAtOnce of them at a time:
//
//   x rows    # # # # # # # # # # # #   [kRowsAtOnce][kTile + 2 kReach][32] in shared memory,
//   twice:
//                                       the next chunk comes in through registers meanwhile
//   a thread  .  39 taps of rows and 39 of columns (forward) or 39 sums (backward)
//             .  kRowsAtOnce + 2 kReach rows of its two columns: sums of y (forward), dy
//             (backward);
//                they move up by kRowsAtOnce after that
//
// so that 78 multiply-adds cost 11 loads from shared memory, and every number is read from global
// memory about once a tile.
#pragma once

#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

namespace nextgrad::cuda {
namespace {

constexpr int kStrips = 3, kStripTaps = 39;
__host__ __device__ constexpr int strip_size(int b) {
  return b == 0 ? 7 : b == 1 ? 11 : 21;
}
__host__ __device__ constexpr int strip_first(int b) {
  return b == 0 ? 0 : b == 1 ? 7 : 18;
}

constexpr int kReach = 10;     // of the longest strip
constexpr int kStripPack = 4;  // channels of a load
constexpr int kPixels = 2, kRowsAtOnce = 3, kWindow = kRowsAtOnce + 2 * kReach;
// Two warps a scheduler, so that a thread may have all registers that there are.
constexpr int kWarps = 8, kStripThreads = 32 * kWarps;
constexpr int kTile = kWarps * kPixels, kLine = kTile + 2 * kReach;  // columns of y and of x
constexpr int kLines = kRowsAtOnce * kLine * 32;  // elements of so many rows of x
constexpr int kTaken = kPixels + 2 * kReach;      // columns of x that a thread sees

struct StripsShape {
  std::int64_t n;
  int h, w, c;
  int tiles, slices, bands, rows;  // of columns, channels, rows; rows of a band
};

// A tile of an image as one block sees it.
struct StripsTile {
  std::int64_t image;              // first element, with the block's channels
  int x0, y0, y1, lane, channels;  // first column, rows [y0, y1), this lane, channels at hand
  int column;                      // of this thread's first pixel, in the tile
};
__device__ __forceinline__ StripsTile strips_tile(const StripsShape& s) {
  std::int64_t i = blockIdx.x;
  const int slice = static_cast<int>(i % s.slices), lane = static_cast<int>(threadIdx.x) % 32;
  i /= s.slices;
  const int tile = static_cast<int>(i % s.tiles);
  i /= s.tiles;
  const int band = static_cast<int>(i % s.bands), c0 = slice * 32;
  const int end = (band + 1) * s.rows;
  return {i / s.bands * s.h * s.w * s.c + c0,
          tile * kTile,
          band * s.rows,
          end < s.h ? end : s.h,
          lane,
          s.c - c0 < 32 ? s.c - c0 : 32,
          static_cast<int>(threadIdx.x) / 32 * kPixels};
}

// kRowsAtOnce rows of x on their way to shared memory, N channels a load.
template <class T>
struct ChunkInFlight {
  static constexpr int N = kStripPack, kLoads = (kLines / N + kStripThreads - 1) / kStripThreads;
  Pack<T, N> packs[kLoads];

  // Rows [y, y + kRowsAtOnce), zeros outside the image.
  __device__ __forceinline__ void fetch(const StripsShape& s, const StripsTile& t, const T* x,
                                        int y) {
    unroll<kLoads>([&](int i) {
      const int at = (static_cast<int>(threadIdx.x) + i * kStripThreads) * N;
      const int channel = at % 32, in_x = t.x0 - kReach + at / 32 % kLine;
      const int in_y = y + at / 32 / kLine;
      packs[i] = {};
      if (at < kLines && in_y >= 0 && in_y < s.h && in_x >= 0 && in_x < s.w && channel < t.channels)
        packs[i] = load_pack<N>(x + t.image + (std::int64_t{in_y} * s.w + in_x) * s.c + channel);
    });
  }
  __device__ __forceinline__ void put(Compute<T>* lines) const {
    unroll<kLoads>([&](int i) {
      const int at = (static_cast<int>(threadIdx.x) + i * kStripThreads) * N;
      if (at >= kLines) return;
      Compute<T> wide[N];
      unroll<N>([&](int j) { wide[j] = widen(packs[i].at[j]); });
      store<N>(lines + at, wide);
    });
  }
};

template <class C>
struct StripTaps {  // [k][c] of every strip, and biases [c] or null
  const C* taps[kStrips];
  const C* bias[kStrips];
};
// This lane's taps; zeros beyond the last channel.
template <class C>
__device__ __forceinline__ void load_taps(const StripTaps<C>& from, const StripsShape& s,
                                          const StripsTile& t, bool flip, C (&taps)[kStripTaps]) {
  const std::int64_t channel = t.image % s.c + t.lane;
#pragma unroll
  for (int b = 0; b < kStrips; ++b) {
    const int k = strip_size(b);
#pragma unroll
    for (int i = 0; i < k; ++i)
      taps[strip_first(b) + i] =
          t.lane < t.channels ? from.taps[b][(flip ? k - 1 - i : i) * s.c + channel] : C{0};
  }
}
template <class C>
__device__ __forceinline__ C load_bias(const C* bias, const StripsShape& s, const StripsTile& t) {
  return bias != nullptr && t.lane < t.channels ? bias[t.image % s.c + t.lane] : C{0};
}

// Marches over rows [from, to) of x: calls each(y, line) with kRowsAtOnce rows from y on, the first
// of them at `line`, at this thread's first column less kReach and at its lane.
template <class T, class Each>
__device__ __forceinline__ void march_rows(const StripsShape& s, const StripsTile& t, const T* x,
                                           int from, int to, Compute<T>* lines, Each&& each) {
  ChunkInFlight<T> next;
  next.fetch(s, t, x, from);
  next.put(lines);
  __syncthreads();
  for (int y = from, buffer = 0; y < to; y += kRowsAtOnce, buffer ^= 1) {
    next.fetch(s, t, x, y + kRowsAtOnce);
    each(y, lines + buffer * kLines + t.column * 32 + t.lane);
    next.put(lines + (buffer ^ 1) * kLines);
    __syncthreads();
  }
}

// Rows of this thread's pixels: sums of y (forward), dy (backward). Row u of a chunk is row
// u + kReach of the window.
template <class C>
using Rows = C[kWindow][kPixels];

// On to the next chunk; zeros come in.
template <class C>
__device__ __forceinline__ void move_up(Rows<C>& window) {
  unroll<kWindow, kPixels>([&](int u, int p) {
    window[u][p] = u + kRowsAtOnce < kWindow ? window[(u + kRowsAtOnce) % kWindow][p] : C{0};
  });
}
// The row of the window that tap i of column strip b sees in row u of a chunk.
__device__ __forceinline__ constexpr int row_of(int u, int b, int i) {
  return u + kReach + strip_size(b) / 2 - i;
}

// Calls fn(b, i, p) for tap i of strip b at pixel p.
template <class Fn>
__device__ __forceinline__ void for_taps(Fn&& fn) {
#pragma unroll
  for (int b = 0; b < kStrips; ++b) {
#pragma unroll
    for (int i = 0; i < strip_size(b); ++i) unroll<kPixels>([&](int p) { fn(b, i, p); });
  }
}
// And with the number of x that a row strip's tap sees there.
template <class C, class Fn>
__device__ __forceinline__ void for_row_taps(const C* line, Fn&& fn) {
  unroll<kTaken>([&](int j) {
    const C v = line[j * 32];
    unroll<kPixels, kStrips>([&](int p, int b) {
      const int i = j - p - kReach + strip_size(b) / 2;
      if (i >= 0 && i < strip_size(b)) fn(b, i, p, v);
    });
  });
}

// All row strips at this thread's pixels: r = bias + taps * x.
template <class C>
__device__ __forceinline__ void convolve_row(const C* line, const C (&taps)[kStripTaps],
                                             const C (&bias)[kStrips], C (&r)[kStrips][kPixels]) {
  unroll<kStrips, kPixels>([&](int b, int p) { r[b][p] = bias[b]; });
  for_row_taps(line, [&](int b, int i, int p, C v) { r[b][p] += taps[strip_first(b) + i] * v; });
}

// As many bands as make the fewest rows a processor has to do, a block at a time; `border` rows of
// a band are done twice.
inline StripsShape strips_shape(const Tensor& x, int processors, int border) {
  StripsShape s{};
  s.n = x.dim(0);
  s.h = static_cast<int>(x.dim(1));
  s.w = static_cast<int>(x.dim(2));
  s.c = static_cast<int>(x.dim(3));
  s.tiles = (s.w + kTile - 1) / kTile;
  s.slices = (s.c + 31) / 32;
  const std::int64_t blocks = s.n * s.tiles * s.slices;
  std::int64_t best = 0;
  for (int bands = 1; bands <= 16; ++bands) {
    const int rows = (s.h + bands - 1) / bands;
    const std::int64_t turns = (blocks * bands + processors - 1) / processors;
    const std::int64_t cost = turns * (rows + (bands > 1 ? border : 0));
    if (bands > 1 && (rows < kRowsAtOnce || cost >= best)) continue;
    best = cost;
    s.rows = rows;
  }
  s.bands = (s.h + s.rows - 1) / s.rows;
  return s;
}

}  // namespace
}  // namespace nextgrad::cuda
