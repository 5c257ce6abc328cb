// Multi-scale strips_backward: dx and every branch's gradients in one pass over x and dy.
//
// With r = row(x) + row bias and y = x + sum over branches of column(r), per branch
//   g = column'(dy)    dx = dy + row'(g)    dcolumn = <dy, r>    drow = <g, x>    drow bias = sum g
// where ' turns a strip's taps round and <,> is the correlation at every tap.
//
// A task is one image, one cache line of channels, a band of rows and a tile of columns (the whole
// width up to kWide). It goes down row by row; r and g of one row live in lines in L1, the rows of
// dy that columns see in a ring:
//
//     ring of dy rows [2 pad + 1]            for 16 columns at a time, every branch:
//     y - pad  + + + + + + + +                 g[i] += w[t] dy[y + p - t][i]
//        y     + + + + + + + +   r lines  ->   dcolumn[t] += r[i] dy[y + p - t][i]
//     y + pad  + + + + + + + +                 (one load of dy for two products)
//
//     x line  ->  r = row(x);    x line and g line  ->  drow, dx
//
// 5 k multiply-adds a pixel and branch, about half as many loads: bound by arithmetic. A task's
// sums of weights go to its own part of a buffer; the parts are added in order.
#include "tensor/costs.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/cpu/ops/strip_kernels.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {

namespace {

struct LineScratch;
struct RingScratch;
struct ParameterScratch;

inline constexpr std::int64_t kWide = 128, kBand = 32, kColumnsAtOnce = 16;

template <class T>
struct Branch : PackedStrip<T> {
  const T* flipped_row = nullptr;
  T *r = nullptr, *g = nullptr;  // lines; g has the halo that dx needs
  T *drow = nullptr, *drow_bias = nullptr, *dcolumn = nullptr;  // the task's sums
};

// Lines and rows of the ring begin `pad` columns left of the tile; outside the image they are 0.
template <class T>
struct Task : StripsTile {
  std::int64_t y0, rows;                // of the band
  std::int64_t extent = 0;              // pixels of a line
  const T *x = nullptr, *dy = nullptr;  // image at this line's channels
  T* dx = nullptr;
  T *x_line = nullptr, *dx_line = nullptr, *ring = nullptr;
  T* dbias = nullptr;  // sum of dy
  std::vector<Branch<T>> branches = {};

  T* dy_row(std::int64_t y) const { return ring + (y + pad) % (2 * pad + 1) * extent * kLine<T>; }
};

// Work is cut the same way whatever the number of threads.
struct Cut {
  std::int64_t lines, tiles, bands, tile;
  explicit Cut(const StripsShape& s, std::int64_t line)
      : lines(s.c / line),
        tiles((s.w + kWide - 1) / kWide),
        bands((s.h + kBand - 1) / kBand),
        tile(whole_runs((s.w + tiles - 1) / tiles)) {}
};

template <class T>
void pack_parameters(const std::vector<StripPointers<const T>>& strips, std::int64_t c0, T* sums,
                     Task<T>& task) {
  constexpr int B = kLine<T>;
  T* out = scratch<ParameterScratch, T>(2 * lines_of(strips) * B);
  task.dbias = std::exchange(sums, sums + B);
  for (const auto& strip : strips) {
    const std::int64_t size = std::int64_t{strip.k} * B;
    Branch<T> b{pack_strip(strip, task.s.c, c0, out)};
    b.flipped_row = out;
    for (int t = strip.k; t-- > 0;) out = std::copy_n(b.row + t * B, B, out);
    b.drow = sums;
    b.drow_bias = sums + size;
    b.dcolumn = sums + size + B;
    sums += 2 * size + B;
    task.branches.push_back(b);
  }
}

// Zeroed lines of the task.
template <class T>
void make_lines(Task<T>& t) {
  const std::int64_t line = t.extent * kLine<T>;
  const std::int64_t lines = 2 + 2 * static_cast<std::int64_t>(t.branches.size());
  T* at = scratch<LineScratch, T>(lines * line);
  t.ring = scratch<RingScratch, T>((2 * t.pad + 1) * line);
  std::fill_n(at, lines * line, T{0});
  std::fill_n(t.ring, (2 * t.pad + 1) * line, T{0});
  t.x_line = at;
  t.dx_line = at + line;
  for (Branch<T>& b : t.branches) {
    b.r = at += 2 * line;
    b.g = at + line;
  }
}

// r = row(x) + bias in the tile, 0 around it: dcolumn counts the tile's columns only.
template <class T>
void row_results(const Task<T>& t) {
  constexpr int B = kLine<T>;
  const std::int64_t whole = whole_runs(t.columns);
  for (const Branch<T>& b : t.branches) {
    T* r = b.r + t.pad * B;
    convolve_line(t.x_line + (t.pad - b.pad) * B, b.row, b.k, b.row_bias, 0, r, whole);
    std::fill_n(r + t.columns * B, (whole - t.columns) * B, T{0});
  }
}

// g of row y in the tile and its halo, and dcolumn.
template <class T>
void column_gradients(const Task<T>& t, std::int64_t y) {
  constexpr int B = kLine<T>;
  std::vector<const T*> rows(2 * t.pad + 1);
  for (std::int64_t i = 0; i <= 2 * t.pad; ++i) rows[i] = t.dy_row(y + t.pad - i);
  for (std::int64_t first = 0; first < t.extent; first += kColumnsAtOnce)
    for (const Branch<T>& b : t.branches) {
      const std::int64_t left = std::max<std::int64_t>(-t.x0, -b.pad) + t.pad;
      const std::int64_t right = std::min<std::int64_t>(t.s.w - t.x0, t.columns + b.pad) + t.pad;
      const std::int64_t begin = std::max(first, left),
                         end = std::min(first + kColumnsAtOnce, right);
      if (begin >= end) continue;
      T* g = b.g + begin * B;
      std::fill_n(g, (end - begin) * B, T{0});
      cross_rows(rows.data() + t.pad - b.pad, begin * B, b.column, b.k, b.r + begin * B, g,
                 end - begin, b.dcolumn);
    }
}

// drow, its bias, and dx of row y.
template <class T>
void row_gradients(const Task<T>& t, std::int64_t y) {
  constexpr int B = kLine<T>;
  const T* dy = t.dy_row(y) + t.pad * B;
  const T* from = dy;
  sum_line(dy, t.columns, t.dbias);
  for (const Branch<T>& b : t.branches) {
    correlate_line(t.x_line + (t.pad - b.pad) * B, b.g + t.pad * B, t.columns, b.k, b.drow);
    sum_line(b.g + t.pad * B, t.columns, b.drow_bias);
    convolve_line(b.g + (t.pad - b.pad) * B, b.flipped_row, b.k, from, B, t.dx_line,
                  whole_runs(t.columns));
    from = t.dx_line;
  }
  scatter_line(from, t.s.c, t.columns, t.dx + (y * t.s.w + t.x0) * t.s.c);
}

template <class T>
void run(const Task<T>& t) {
  for (std::int64_t y = t.y0 - t.pad; y < t.y0 + t.pad; ++y) load_row(t, t.dy, y, t.dy_row(y));
  for (std::int64_t y = t.y0; y < t.y0 + t.rows; ++y) {
    load_row(t, t.dy, y + t.pad, t.dy_row(y + t.pad));
    load_row(t, t.x, y, t.x_line);
    row_results(t);
    column_gradients(t, y);
    row_gradients(t, y);
  }
}

// Adds each line of the sums up over the tasks of all images, and writes it to where it is wanted.
template <class T>
void combine(const StripsShape& s, const Cut& cut, const T* partial, std::int64_t size,
             const std::vector<StripPointers<T>>& gradients) {
  constexpr std::int64_t B = kLine<T>;
  std::vector<std::pair<std::int64_t, T*>> wanted;  // lines as in pack_parameters()
  std::int64_t line = 1;
  for (const auto& g : gradients) {
    wanted.push_back({0, g.column_bias});
    for (int t = 0; t < g.k; ++t) wanted.push_back({line++, g.row + t * s.c});
    wanted.push_back({line++, g.row_bias});
    for (int t = 0; t < g.k; ++t) wanted.push_back({line++, g.column + t * s.c});
  }
  const std::int64_t parts = cut.tiles * cut.bands;
  parallel_each(cut.lines * static_cast<std::int64_t>(wanted.size()), 64, [&](std::int64_t i) {
    const auto [from, to] = wanted[i / cut.lines];
    const std::int64_t block = i % cut.lines;
    if (to == nullptr) return;
    T sum[B] = {};
    for (std::int64_t n = 0; n < s.n; ++n)
      for (std::int64_t part = 0; part < parts; ++part)
        add_to(sum, partial + ((n * cut.lines + block) * parts + part) * size + from * B, B);
    std::copy_n(sum, B, to + block * B);
  });
}

// dx and the gradients of every branch; null biases of `gradients` are left out.
template <class T>
void strips_gradients(const StripsShape& s, const std::vector<StripPointers<const T>>& strips,
                      const T* x, const T* dy, T* dx,
                      const std::vector<StripPointers<T>>& gradients) {
  constexpr std::int64_t B = kLine<T>;
  const Cut cut(s, B);
  const std::int64_t size = (1 + lines_of(strips)) * B, pad = largest_pad(strips);
  const std::int64_t tasks = s.n * cut.lines * cut.tiles * cut.bands;
  const Tensor partial = Tensor::empty({tasks, size}, dtype_of<T>);
  T* sums = partial.data<T>();
  parallel_tasks(tasks, [&](std::int64_t i) {
    const std::int64_t y0 = i % cut.bands * kBand, x0 = i / cut.bands % cut.tiles * cut.tile;
    const std::int64_t c0 = i / cut.bands / cut.tiles % cut.lines * B;
    const std::int64_t image = i / cut.bands / cut.tiles / cut.lines * s.h * s.w * s.c + c0;
    std::fill_n(sums + i * size, size, T{0});
    if (x0 >= s.w) return;
    Task<T> t{{s, x0, std::min(cut.tile, s.w - x0), pad}, y0, std::min(kBand, s.h - y0)};
    t.extent = whole_runs(t.columns) + 2 * pad;
    t.x = x + image;
    t.dy = dy + image;
    t.dx = dx + image;
    pack_parameters(strips, c0, sums + i * size, t);
    make_lines(t);
    run(t);
  });
  combine(s, cut, sums, size, gradients);
}

}  // namespace

StripsGradients CpuBackend::strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                            const Tensor& dy) {
  OpScope scope(costs::strips_backward(x, strips));
  if (!whole_lines(x)) return Fused::strips_backward(x, strips, dy);
  StripsGradients g = empty_strips_gradients(x, strips);
  dispatch_float(x.dtype(), "strips", [&]<class T>(T) {
    strips_gradients<T>(shape_of(x), pointers<const T>(strips), x.data<T>(), dy.data<T>(),
                        g.dx.data<T>(), pointers<T>(g.dstrips));
  });
  return g;
}

}  // namespace nextgrad::cpu
