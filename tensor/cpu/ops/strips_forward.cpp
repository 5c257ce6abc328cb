// Multi-scale strips forward: all branches in one pass over x; row results never reach memory.
//
// A task is one image, one cache line of channels, kTile columns. It walks down in bands of kBand
// rows. Each row of x is copied once to a line with zeros around it and convolved by every
// branch's row strip; the results go to the branch's window, from which columns are summed:
//
//        x row + halo        windows [rows][kTile] in L2           y band
//      0 0 # # # # 0 0   ->   k = 7:  kept | new    columns of   + + + +
//      (in L1)                k = 11: kept | new  -> 8 sums of -> + + + +  = x + biases + all taps
//                             k = 21: kept | new    all branches + + + +
//
// After a band the windows' last rows, which the next band sees too, move to the front. A branch
// costs 2 k multiply-adds a pixel and about k loads: bound by arithmetic, 78 for 7, 11 and 21.
#include <cstring>

#include "tensor/costs.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/cpu/ops/strip_kernels.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {

namespace {

struct LineScratch;
struct WindowScratch;
struct ParameterScratch;

inline constexpr std::int64_t kTile = 32, kBand = 24;  // whole runs
template <class T>
inline constexpr int kStep = (kTile + 1) * kLine<T>;  // a row of a window; odd, so that a column of
                                                      // pixels spreads over the sets of L1

template <class T>
struct Branch : PackedStrip<T> {
  T* window;  // rows y - pad, y - pad + 1, ... of the row strip's result
};

template <class T>
struct Task : StripsTile {
  const T *x, *bias;  // image at this line's channels; sum of the column biases
  T* y;
  T* line = nullptr;  // [pad + kTile + pad][kLine]
  std::vector<Branch<T>> branches = {};
};

template <class T>
void pack_parameters(const std::vector<StripPointers<const T>>& strips, std::int64_t c0,
                     Task<T>& task) {
  constexpr int B = kLine<T>;
  std::int64_t rows = 0;
  for (const auto& strip : strips) rows += strip.k / 2 + kBand + task.pad;
  T* bias = scratch<ParameterScratch, T>((1 + lines_of(strips)) * B);
  T* window = scratch<WindowScratch, T>(rows * kStep<T>);
  T* out = std::fill_n(bias, B, T{0});
  for (const auto& strip : strips) {
    task.branches.push_back({pack_strip(strip, task.s.c, c0, out), window});
    window += (strip.k / 2 + kBand + task.pad) * kStep<T>;
    if (strip.column_bias != nullptr) add_to(bias, strip.column_bias + c0, B);
  }
  task.bias = bias;
}

// The row strips of row y, to every branch's window whose first row is y0 - pad.
template <class T>
void convolve_row(const Task<T>& t, std::int64_t y0, std::int64_t y) {
  constexpr int B = kLine<T>;
  const bool has = y >= 0 && y < t.s.h;
  if (has) load_row(t, t.x, y, t.line);
  for (const Branch<T>& b : t.branches) {
    if (y < y0 - b.pad) continue;
    T* out = b.window + (y - y0 + b.pad) * kStep<T>;
    if (has) {
      convolve_line(t.line + (t.pad - b.pad) * B, b.row, b.k, b.row_bias, 0, out,
                    whole_runs(t.columns));
    } else {
      std::fill_n(out, t.columns * B, T{0});
    }
  }
}

// kSumsAtOnce outputs of one column: to = from + bias + the columns of all branches, `at` elements
// into their windows.
template <class T>
void convolve_column(const Task<T>& t, std::int64_t at, const T* from, T* to, std::int64_t step) {
  for (int h = 0; h < kLine<T>; h += kLanes<T>) {
    const Vec<T> bias = load(t.bias + h);
    Vec<T> sum[kSumsAtOnce];
#pragma GCC unroll 16
    for (int p = 0; p < kSumsAtOnce; ++p) sum[p] = load(from + p * step + h) + bias;
    for (const Branch<T>& b : t.branches)
      add_taps<kStep<T>>(sum, b.window + at + h, b.column + h, b.k);
#pragma GCC unroll 16
    for (int p = 0; p < kSumsAtOnce; ++p) store(to + p * step + h, sum[p]);
  }
}

// Rows [y0, y0 + rows) of y.
template <class T>
void convolve_columns(const Task<T>& t, std::int64_t y0, std::int64_t rows) {
  constexpr int B = kLine<T>;
  const std::int64_t step = t.s.w * t.s.c;
  // Column by column: most lines of a window that one run of sums has seen are the next one's too.
  for (std::int64_t i = 0; i < t.columns; ++i)
    for (std::int64_t r = 0; r < rows; r += kSumsAtOnce) {
      const std::int64_t from = (y0 + r) * step + (t.x0 + i) * t.s.c, at = r * kStep<T> + i * B;
      if (r + kSumsAtOnce <= rows) {
        convolve_column(t, at, t.x + from, t.y + from, step);
        continue;
      }
      T some[kSumsAtOnce * B] = {};
      gather_line(t.x + from, step, rows - r, some);
      convolve_column(t, at, some, some, std::int64_t{B});
      scatter_line(some, step, rows - r, t.y + from);
    }
}

template <class T>
void run(const Task<T>& t) {
  std::fill_n(t.line, (kTile + 2 * t.pad) * kLine<T>, T{0});
  for (std::int64_t y0 = 0; y0 < t.s.h; y0 += kBand) {
    const std::int64_t rows = std::min(kBand, t.s.h - y0);
    const std::int64_t begin = y0 == 0 ? -t.pad : y0 + t.pad, end = y0 + whole_runs(rows) + t.pad;
    for (std::int64_t y = begin; y < end; ++y) convolve_row(t, y0, y);
    convolve_columns(t, y0, rows);
    for (const Branch<T>& b : t.branches)
      std::memmove(b.window, b.window + kBand * kStep<T>,
                   static_cast<std::size_t>((b.pad + t.pad) * kStep<T>) * sizeof(T));
  }
}

// y = x + sum over branches of column(row(x)).
template <class T>
void strips_forward(const StripsShape& s, const std::vector<StripPointers<const T>>& strips,
                    const T* x, T* y) {
  constexpr std::int64_t B = kLine<T>;
  const std::int64_t tiles = (s.w + kTile - 1) / kTile, lines = s.c / B, pad = largest_pad(strips);
  parallel_tasks(s.n * lines * tiles, [&](std::int64_t i) {
    const std::int64_t x0 = i % tiles * kTile, c0 = i / tiles % lines * B;
    const std::int64_t image = i / tiles / lines * s.h * s.w * s.c + c0;
    Task<T> task{{s, x0, std::min(kTile, s.w - x0), pad}, x + image, nullptr, y + image};
    task.line = scratch<LineScratch, T>((kTile + 2 * pad) * B);
    pack_parameters(strips, c0, task);
    run(task);
  });
}

}  // namespace

Tensor CpuBackend::strips(const Tensor& x, const std::vector<Strip>& strips) {
  OpScope scope(costs::strips(x, strips));
  if (!whole_lines(x)) return Fused::strips(x, strips);
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "strips", [&]<class T>(T) {
    strips_forward<T>(shape_of(x), pointers<const T>(strips), x.data<T>(), y.data<T>());
  });
  return y;
}

}  // namespace nextgrad::cpu
