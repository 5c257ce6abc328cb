// What the strips are made of: sums along lines of pixels, for one vector of channels at a time.
// A line is a scratch buffer [pixels][kLine] that holds one cache line of channels of each pixel;
// `Step` is the distance between two pixels that follow each other along the strip, a constant so
// that the loads need no address arithmetic: kLine along a row, a whole row along a column.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/lanes.h"
#include "tensor/cpu/kit/simd.h"

namespace nextgrad::cpu {

struct StripsShape {
  std::int64_t n, h, w, c;
};

// One branch: row [k,C], its bias [C] or null, column [k,C], its bias or null.
template <class T>
struct StripPointers : StripOf<T*> {
  int k;
};

inline StripsShape shape_of(const Tensor& x) {
  return {x.dim(0), x.dim(1), x.dim(2), x.dim(3)};
}

template <class T>
std::vector<StripPointers<T>> pointers(const std::vector<Strip>& strips) {
  std::vector<StripPointers<T>> p;
  for (const Strip& s : strips)
    p.push_back({{data_or_null<T>(s.row), data_or_null<T>(s.row_bias), data_or_null<T>(s.column),
                  data_or_null<T>(s.column_bias)},
                 static_cast<int>(s.row.dim(1))});
  return p;
}

template <class T>
inline constexpr int kLine = 64 / static_cast<int>(sizeof(T));  // channels of a line
inline constexpr int kSumsAtOnce = 8;                           // neighbouring sums in registers

// Smallest multiple of kSumsAtOnce that is not below n.
inline std::int64_t whole_runs(std::int64_t n) {
  return (n + kSumsAtOnce - 1) / kSumsAtOnce * kSumsAtOnce;
}

// sum[p] += sum over t < Taps of in[p + t] w[t]: kSumsAtOnce + 2 Taps - 1 loads, kSumsAtOnce * Taps
// products.
template <int Taps, int Step, class T>
inline void add_some_taps(Vec<T> (&sum)[kSumsAtOnce], const T* in, const T* w) {
  Vec<T> tap[Taps];
#pragma GCC unroll 16
  for (int t = 0; t < Taps; ++t) tap[t] = load(w + t * kLine<T>);
#pragma GCC unroll 16
  for (int j = 0; j < kSumsAtOnce + Taps - 1; ++j) {
    const Vec<T> v = load(in + j * Step);
#pragma GCC unroll 16
    for (int t = 0; t < Taps; ++t)
      if (j - t >= 0 && j - t < kSumsAtOnce) sum[j - t] += v * tap[t];
  }
}

// The same for any number of taps, four at a time: 8 sums, 4 taps and an input fill 13 registers.
template <int Step, class T>
inline void add_taps(Vec<T> (&sum)[kSumsAtOnce], const T* in, const T* w, int taps) {
  for (; taps >= 4; taps -= 4, in += 4 * Step, w += 4 * kLine<T>)
    add_some_taps<4, Step>(sum, in, w);
  if (taps == 3) return add_some_taps<3, Step>(sum, in, w);
  if (taps == 2) return add_some_taps<2, Step>(sum, in, w);
  if (taps == 1) return add_some_taps<1, Step>(sum, in, w);
}

// out[i] = from[i] + sum over t of in[i + t] w[t], i < n (in whole runs), along a row. from_step is
// 0 where `from` is one bias for all.
template <class T>
void convolve_line(const T* in, const T* w, int taps, const T* from, int from_step, T* out,
                   std::int64_t n) {
  constexpr int B = kLine<T>;
  for (int h = 0; h < B; h += kLanes<T>)
    for (std::int64_t i = 0; i < n; i += kSumsAtOnce) {
      Vec<T> sum[kSumsAtOnce];
#pragma GCC unroll 16
      for (int p = 0; p < kSumsAtOnce; ++p) sum[p] = load(from + (i + p) * from_step + h);
      add_taps<B>(sum, in + i * B + h, w + h, taps);
#pragma GCC unroll 16
      for (int p = 0; p < kSumsAtOnce; ++p) store(out + (i + p) * B + h, sum[p]);
    }
}

// sums[t] += sum over i < n of g[i] in[i + t], t < Taps.
template <int Taps, class T>
void correlate_some_taps(const T* in, const T* g, std::int64_t n, T* sums) {
  constexpr int B = kLine<T>, P = 4;
  for (int h = 0; h < B; h += kLanes<T>) {
    Vec<T> sum[Taps];
#pragma GCC unroll 16
    for (int t = 0; t < Taps; ++t) sum[t] = load(sums + t * B + h);
    std::int64_t i = 0;
    for (; i + P <= n; i += P) {
      Vec<T> v[P];
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) v[p] = load(g + (i + p) * B + h);
#pragma GCC unroll 16
      for (int j = 0; j < P + Taps - 1; ++j) {
        const Vec<T> x = load(in + (i + j) * B + h);
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
          if (j - p >= 0 && j - p < Taps) sum[j - p] += x * v[p];
      }
    }
    for (; i < n; ++i) {
      const Vec<T> v = load(g + i * B + h);
#pragma GCC unroll 16
      for (int t = 0; t < Taps; ++t) sum[t] += load(in + (i + t) * B + h) * v;
    }
#pragma GCC unroll 16
    for (int t = 0; t < Taps; ++t) store(sums + t * B + h, sum[t]);
  }
}

// For i < n and t < Taps, rows[t] a line each: g[i] += w[t] rows[t][i], sums[t] += r[i] rows[t][i].
template <int Taps, class T>
void cross_some_rows(const T* const* rows, std::int64_t at, const T* w, const T* r, T* g,
                     std::int64_t n, T* sums) {
  constexpr int B = kLine<T>;
  for (int h = 0; h < B; h += kLanes<T>) {
    Vec<T> sum[Taps], tap[Taps];
    const T* row[Taps];
#pragma GCC unroll 16
    for (int t = 0; t < Taps; ++t) {
      sum[t] = load(sums + t * B + h);
      tap[t] = load(w + t * B + h);
      row[t] = rows[t] + at + h;
    }
    for (std::int64_t i = 0; i < n * B; i += B) {
      const Vec<T> v = load(r + i + h);
      Vec<T> s = load(g + i + h);
#pragma GCC unroll 16
      for (int t = 0; t < Taps; ++t) {
        const Vec<T> x = load(row[t] + i);
        s += x * tap[t];
        sum[t] += x * v;
      }
      store(g + i + h, s);
    }
#pragma GCC unroll 16
    for (int t = 0; t < Taps; ++t) store(sums + t * B + h, sum[t]);
  }
}

// Calls fn(first tap, m) for blocks of m taps, at most Most, of nearly equal sizes.
template <int Most, class Fn>
void each_block_of_taps(int taps, Fn&& fn) {
  const int blocks = (taps + Most - 1) / Most;
  for (int b = 0, t = 0; b < blocks; ++b) {
    const int m = (taps - t + blocks - b - 1) / (blocks - b);
    fn(t, m);
    t += m;
  }
}

// sums[t] += sum over i < n of g[i] in[i + t] for any number of taps.
template <class T>
void correlate_line(const T* in, const T* g, std::int64_t n, int taps, T* sums) {
  each_block_of_taps<7>(taps, [=](int t, int m) {
    with_constant<7>(m, [=](auto constant) {
      correlate_some_taps<constant.value>(in + t * kLine<T>, g, n, sums + t * kLine<T>);
    });
  });
}

// cross_some_rows for any number of taps, pixels [at, at + n) of the rows.
template <class T>
void cross_rows(const T* const* rows, std::int64_t at, const T* w, int taps, const T* r, T* g,
                std::int64_t n, T* sums) {
  each_block_of_taps<6>(taps, [=](int t, int m) {
    with_constant<6>(m, [=](auto constant) {
      cross_some_rows<constant.value>(rows + t, at, w + t * kLine<T>, r, g, n, sums + t * kLine<T>);
    });
  });
}

// sums[0] += sum over i < n of g[i].
template <class T>
void sum_line(const T* g, std::int64_t n, T* sums) {
  constexpr int B = kLine<T>;
  for (int h = 0; h < B; h += kLanes<T>) {
    Vec<T> sum = load(sums + h);
    for (std::int64_t i = 0; i < n; ++i) sum += load(g + i * B + h);
    store(sums + h, sum);
  }
}

// n pixels of an image, c apart, to a line and back.
template <class T>
void gather_line(const T* image, std::int64_t c, std::int64_t n, T* line) {
  constexpr int B = kLine<T>;
  for (std::int64_t i = 0; i < n; ++i)
#pragma GCC unroll 4
    for (int h = 0; h < B; h += kLanes<T>) store(line + i * B + h, load(image + i * c + h));
}
template <class T>
void scatter_line(const T* line, std::int64_t c, std::int64_t n, T* image) {
  constexpr int B = kLine<T>;
  for (std::int64_t i = 0; i < n; ++i)
#pragma GCC unroll 4
    for (int h = 0; h < B; h += kLanes<T>) store(image + i * c + h, load(line + i * B + h));
}

// --- what the tasks of both passes are made of ---

// Whether channels come in whole lines. Other images are composed of depth-wise convolutions.
inline bool whole_lines(const Tensor& x) {
  return x.dim(3) % (64 / static_cast<std::int64_t>(size_of(x.dtype()))) == 0;
}

// Columns of an image's line of channels, and around them the largest padding of all strips.
struct StripsTile {
  StripsShape s;
  std::int64_t x0, columns, pad;
};

template <class T>
std::int64_t largest_pad(const std::vector<StripPointers<T>>& strips) {
  std::int64_t pad = 0;
  for (const auto& strip : strips) pad = std::max<std::int64_t>(pad, strip.k / 2);
  return pad;
}

// Row y of an image from `pad` columns before the tile to as many after it, to a line whose pixels
// outside the image are 0 and stay so; a row outside is zeros.
template <class T>
void load_row(const StripsTile& t, const T* image, std::int64_t y, T* line) {
  constexpr int B = kLine<T>;
  const std::int64_t begin = std::max<std::int64_t>(0, t.x0 - t.pad);
  const std::int64_t n = std::min(t.s.w, t.x0 + t.columns + t.pad) - begin;
  line += (begin - t.x0 + t.pad) * B;
  if (y < 0 || y >= t.s.h)
    std::fill_n(line, n * B, T{0});
  else
    gather_line(image + (y * t.s.w + begin) * t.s.c, t.s.c, n, line);
}

// The parameters of a branch at one line of channels: [k][kLine], the bias [kLine], [k][kLine].
template <class T>
struct PackedStrip {
  int k, pad;
  const T *row, *row_bias, *column;
};

// How many lines those of all branches are.
template <class T>
std::int64_t lines_of(const std::vector<StripPointers<T>>& strips) {
  std::int64_t lines = 0;
  for (const auto& strip : strips) lines += 2 * strip.k + 1;
  return lines;
}

// Writes them to `out`, which moves on; c0 is the first channel of c.
template <class T>
PackedStrip<T> pack_strip(const StripPointers<const T>& strip, std::int64_t c, std::int64_t c0,
                          T*& out) {
  const auto pack = [&](const T* from, int n) {
    T* to = std::exchange(out, out + n * kLine<T>);
    if (from != nullptr) gather_line(from + c0, c, n, to);
    if (from == nullptr) std::fill_n(to, n * kLine<T>, T{0});
    return to;
  };
  return {strip.k, strip.k / 2, pack(strip.row, strip.k), pack(strip.row_bias, 1),
          pack(strip.column, strip.k)};
}

}  // namespace nextgrad::cpu
