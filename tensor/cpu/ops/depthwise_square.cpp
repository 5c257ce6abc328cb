// Depth-wise 3x3 and 5x5 of stride 1 that keep the image's size, computed in place: no tile is
// copied, every input is loaded straight from the image.
//
// A group is kPixels neighbouring outputs of one row. Channels are the inner loop, one cache line
// (kVectors vectors) at a time, so that no line has to survive in L1 until its second half is due:
// with 512 or 1024 channels all pixels fall into the same few sets of it.
//
//      K + kPixels - 1 pixels                An input is loaded once and feeds the up to K sums
//     +---+---+-- .. --+---+                 that see it; the sums and one row of taps stay in
//   K |   |   |        |   |  ->  | sums |   registers: K = 3 costs 18 + 9 loads for 36
//     +---+---+-- .. --+---+                 multiply-adds a vector.
//
// Groups inside the image step by fixed distances and prefetch their successor (the hardware does
// not foresee this walk); groups that touch the edge go through a table of pointers, in which a
// pixel outside the image is a row of zeros, and a sum that nobody wants goes to a row that nobody
// reads. The backward runs by groups of inputs: the gradients that dx needs are those that dweight
// needs, while they are in L1,
//   dx[q] = sum over taps t of w[t] dy[q - t],   dw[t] = sum over pixels q of x[q] dy[q - t].
// dw is summed over tiles of kRows x kColumns pixels, then over the tiles in order.
//
// Roofline: a 3x3 is bound by memory, 1.1 multiply-adds a byte forward and 1.5 backward.
#include <algorithm>
#include <utility>

#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/cpu/kit/simd.h"
#include "tensor/cpu/ops/depthwise.h"

namespace nextgrad::cpu {

namespace {

struct ZeroScratch;
struct WasteScratch;
struct PackScratch;

inline constexpr int kVectors = 64 / kVectorBytes;         // of a cache line
inline constexpr int kPixels = std::max(2, 8 / kVectors);  // 8 vectors of sums (SSE: 8 of 16)
inline constexpr std::int64_t kRows = 16, kColumns = 32;   // of a tile: K + 1 rows of it fit L2
template <class T>
inline constexpr std::int64_t kLine = kVectors* kLanes<T>;  // channels at a time

// Pixels at fixed distances from the first: a group inside the image. They are walked one by one:
// addresses by formula GCC computes for all pixels before the loop over channels, so that each
// comes from the stack.
template <class T>
struct Inside {
  T* first;
  std::int64_t row, pixel;

  struct Walk {
    T* at;
    std::int64_t step;
    T* next() {
      asm("" : "+r"(at));
      return std::exchange(at, at + step);
    }
  };
  // Pixels (i, j), (i, j + 1), ..., from channel c on.
  Walk walk(int i, int j, std::int64_t c) const { return {first + i * row + j * pixel + c, pixel}; }
};
// Pixels anywhere: a group at the edge.
template <class T, int Rows, int Columns>
struct Table {
  T* at[Rows][Columns];

  struct Walk {
    T* const* at;
    std::int64_t c;
    T* next() { return *at++ + c; }
  };
  Walk walk(int i, int j, std::int64_t c) const { return {at[i] + j, c}; }
};

// Row i of the next group, which begins kPixels further right.
template <bool Write, class T>
void prefetch_next(const Inside<T>& pixels, int i, int j, std::int64_t c) {
  auto pixel = pixels.walk(i, j + kPixels, c);
  for (int p = 0; p < kPixels; ++p) __builtin_prefetch(pixel.next(), Write ? 1 : 0, 3);
}
template <bool Write, class T, int Rows, int Columns>
void prefetch_next(const Table<T, Rows, Columns>&, int, int, std::int64_t) {}

// out = base + bias + sums over K x K taps for a line of channels at c; packed: see pack().
template <int K, class T, class In, class Out, class Base>
inline void convolve_line(const In& in, std::int64_t c, const T* packed, const Base* base,
                          const Out& out) {
  constexpr int L = kLanes<T>, block = (K * K + 1) * L;
  Vec<T> sum[kPixels][kVectors];
#pragma GCC unroll 16
  for (int p = 0; p < kPixels; ++p)
#pragma GCC unroll 16
    for (int h = 0; h < kVectors; ++h) sum[p][h] = load(packed + h * block + K * K * L);
#pragma GCC unroll 16
  for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
    for (int h = 0; h < kVectors; ++h) {
      auto pixel = in.walk(i, 0, c + h * L);
#pragma GCC unroll 16
      for (int j = 0; j < K + kPixels - 1; ++j) {
        const Vec<T> v = load(pixel.next());
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k)
          if (j - k >= 0 && j - k < kPixels)
            sum[j - k][h] += v * load(packed + h * block + (i * K + k) * L);
      }
    }
#pragma GCC unroll 16
  for (int h = 0; h < kVectors; ++h) {
    if (base != nullptr) {
      auto from = base->walk(0, 0, c + h * L);
#pragma GCC unroll 16
      for (int p = 0; p < kPixels; ++p) sum[p][h] += load(from.next());
    }
    auto to = out.walk(0, 0, c + h * L);
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) store(to.next(), sum[p][h]);
  }
}

// Adds to sums, packed like the weights, the gradients of the taps and of the bias.
template <int K, class T, class In, class X>
inline void correlate_line(const In& dy, const X& x, std::int64_t c, T* sums) {
  constexpr int L = kLanes<T>, block = (K * K + 1) * L;
  Vec<T> pixel[kPixels][kVectors];
#pragma GCC unroll 16
  for (int h = 0; h < kVectors; ++h) {
    auto at = x.walk(0, 0, c + h * L);
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) pixel[p][h] = load(at.next());
  }
#pragma GCC unroll 16
  for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
    for (int h = 0; h < kVectors; ++h) {
      T* at = sums + h * block + (K * K - 1 - i * K) * L;  // of tap (i, 0), reversed
      Vec<T> sum[K], bias = load(sums + h * block + K * K * L);
#pragma GCC unroll 16
      for (int k = 0; k < K; ++k) sum[k] = load(at - k * L);
      auto gradient = dy.walk(i, 0, c + h * L);
#pragma GCC unroll 16
      for (int j = 0; j < K + kPixels - 1; ++j) {
        const Vec<T> v = load(gradient.next());
        if (i == K / 2 && j >= K / 2 && j < kPixels + K / 2) bias += v;
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k)
          if (j - k >= 0 && j - k < kPixels) sum[k] += v * pixel[j - k][h];
      }
#pragma GCC unroll 16
      for (int k = 0; k < K; ++k) store(at - k * L, sum[k]);
      if (i == K / 2) store(sums + h * block + K * K * L, bias);
    }
}

// A group of outputs from what its windows see, out = base + sums over taps; backward, where `in`
// is dy and out dx, also the taps' gradients, for x. base, x and backward's out may be null.
template <int K, bool Forward, class T, class In, class Pixels, class Out>
void convolve_group(std::int64_t channels, const In& in, const T* packed, const Pixels* base,
                    const Out* out, const Pixels* x, T* sums) {
  for (std::int64_t c = 0; c < channels; c += kLine<T>, packed += (K * K + 1) * kLine<T>) {
    prefetch_next<false>(in, K - 1, K - 1, c);
    if (Forward || out != nullptr) {
      prefetch_next<true>(*out, 0, 0, c);
      convolve_line<K>(in, c, packed, base, *out);
    }
    if (!Forward && x != nullptr) {
      prefetch_next<false>(*x, 0, 0, c);
      correlate_line<K>(in, *x, c, sums + c * (K * K + 1));
    }
  }
}

template <class T>
const T* pack(const T* weight, const T* bias, std::int64_t taps, std::int64_t c, bool flip) {
  T* packed = scratch<PackScratch, T>((taps + 1) * c);
  depthwise_square_pack(weight, bias, taps, c, flip, packed);
  return packed;
}

template <class T>
const T* zeros(std::int64_t n) {
  T* z = scratch<ZeroScratch, T>(n);
  std::fill_n(z, n, T{0});
  return z;
}

// A tile of one image.
struct Tile {
  std::int64_t image, y0, y1, x0, x1;
};

std::int64_t tiles_of(const DepthwiseShape& s) {
  return s.n * ((s.h + kRows - 1) / kRows) * ((s.w + kColumns - 1) / kColumns);
}
Tile tile(const DepthwiseShape& s, std::int64_t index) {
  const std::int64_t across = (s.w + kColumns - 1) / kColumns, down = (s.h + kRows - 1) / kRows;
  const std::int64_t x0 = index % across * kColumns, y0 = index / across % down * kRows;
  return {index / across / down, y0, std::min(s.h, y0 + kRows), x0, std::min(s.w, x0 + kColumns)};
}

// The pixels from (y, x) on, of an image or of none (null).
template <class T>
Inside<T> pixels_at(T* image, const DepthwiseShape& s, std::int64_t y, std::int64_t x) {
  if (image == nullptr) return {};
  return {image + (y * s.w + x) * s.c, s.w * s.c, s.c};
}
template <int Rows, int Columns, class T>
Table<T, Rows, Columns> table_at(T* image, const DepthwiseShape& s, std::int64_t y, std::int64_t x,
                                 T* outside) {
  Table<T, Rows, Columns> t{};
  if (image == nullptr) return t;
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Columns; ++j) {
      const bool has = y + i >= 0 && y + i < s.h && x + j >= 0 && x + j < s.w;
      t.at[i][j] = has ? image + ((y + i) * s.w + x + j) * s.c : outside;
    }
  return t;
}

// What a convolution of one image reads and writes; null where there is none. Forward: `in`,
// `base`, `out`; backward: dy, dx and x with its sums.
template <class T>
struct Images {
  const T *in, *packed, *base = nullptr;
  T* out = nullptr;
  const T* x = nullptr;
  T* sums = nullptr;
};

template <int K, bool Forward, class T>
void convolve_tile(const DepthwiseShape& s, const Tile& t, const Images<T>& of) {
  const T* none = zeros<T>(s.c);
  T* waste = scratch<WasteScratch, T>(s.c);
  for (std::int64_t r = t.y0; r < t.y1; ++r)
    for (std::int64_t q = t.x0; q < t.x1; q += kPixels) {
      const auto group = [&](const auto& in, const auto& base, const auto& out, const auto& x) {
        convolve_group<K, Forward>(s.c, in, of.packed, Forward && of.base ? &base : nullptr,
                                   Forward || of.out ? &out : nullptr,
                                   !Forward && of.x ? &x : nullptr, of.sums);
      };
      const std::int64_t y = r - K / 2, left = q - K / 2;
      if (y >= 0 && r + K / 2 < s.h && left >= 0 && q + kPixels + K / 2 <= s.w)
        group(pixels_at(of.in, s, y, left), pixels_at(of.base, s, r, q), pixels_at(of.out, s, r, q),
              pixels_at(of.x, s, r, q));
      else
        group(table_at<K, K + kPixels - 1>(of.in, s, y, left, none),
              table_at<1, kPixels>(of.base, s, r, q, none),
              table_at<1, kPixels>(of.out, s, r, q, waste),
              table_at<1, kPixels>(of.x, s, r, q, none));
    }
}

// Of whole batches; without sums if neither dweight nor dbias is wanted.
template <int K, bool Forward, class T>
void convolve(const DepthwiseShape& s, const Images<T>& of, T* dweight, T* dbias) {
  const std::int64_t tiles = tiles_of(s), size = (s.taps() + 1) * s.c;
  const Tensor partial = of.x ? Tensor::empty({tiles, size}, dtype_of<T>) : Tensor();
  T* sums = of.x ? partial.data<T>() : nullptr;
  parallel_tasks(tiles, [&](std::int64_t i) {
    const Tile t = tile(s, i);
    const std::int64_t at = t.image * s.h * s.w * s.c;
    if (of.x) std::fill_n(sums + i * size, size, T{0});
    convolve_tile<K, Forward, T>(
        s, t,
        {of.in + at, of.packed, of.base ? of.base + at : nullptr, of.out ? of.out + at : nullptr,
         of.x ? of.x + at : nullptr, of.x ? sums + i * size : nullptr});
  });
  if (of.x) depthwise_square_unpack_sums(sums, tiles, s.taps(), s.c, dweight, dbias);
}
template <bool Forward, class T>
void convolve(const DepthwiseShape& s, const Images<T>& of, T* dweight = nullptr,
              T* dbias = nullptr) {
  s.window.kh == 3 ? convolve<3, Forward>(s, of, dweight, dbias)
                   : convolve<5, Forward>(s, of, dweight, dbias);
}

}  // namespace

template <class T>
bool depthwise_square_fits(const DepthwiseShape& s) {
  const Window& k = s.window;
  return (k.kh == 3 || k.kh == 5) && k.kw == k.kh && k.stride_h == 1 && k.stride_w == 1 &&
         k.dilation_h == 1 && k.dilation_w == 1 && k.pad_h == k.kh / 2 && k.pad_w == k.kw / 2 &&
         s.c % kLine<T> == 0;
}

template <class T>
void depthwise_square_forward(const DepthwiseShape& s, const T* x, const T* weight, const T* bias,
                              const T* base, T* y) {
  convolve<true, T>(
      s, {.in = x, .packed = pack(weight, bias, s.taps(), s.c, false), .base = base, .out = y});
}

template <class T>
void depthwise_square_backward(const DepthwiseShape& s, const T* x, const T* weight, const T* dy,
                               T* dx, T* dweight, T* dbias) {
  const T* packed = pack<T>(weight, nullptr, s.taps(), s.c, true);
  convolve<false, T>(s,
                     {.in = dy, .packed = packed, .out = dx, .x = dweight || dbias ? x : nullptr},
                     dweight, dbias);
}

template <class T>
void depthwise_square_pack(const T* weight, const T* bias, std::int64_t taps, std::int64_t c,
                           bool flip, T* packed) {
  constexpr int L = kLanes<T>;
  for (std::int64_t block = 0; block < c / L; ++block) {
    T* out = packed + block * (taps + 1) * L;
    for (std::int64_t t = 0; t < taps; ++t)
      std::copy_n(weight + (flip ? taps - 1 - t : t) * c + block * L, L, out + t * L);
    if (bias != nullptr) {
      std::copy_n(bias + block * L, L, out + taps * L);
    } else {
      std::fill_n(out + taps * L, L, T{0});
    }
  }
}

template <class T>
void depthwise_3x3_part(const DepthwiseShape& s, std::int64_t y0, std::int64_t y1, std::int64_t x0,
                        std::int64_t x1, const T* x, const T* packed, T* y) {
  convolve_tile<3, true, T>(s, {0, y0, y1, x0, x1}, {.in = x, .packed = packed, .out = y});
}

template <class T>
void depthwise_3x3_part_backward(const DepthwiseShape& s, std::int64_t y0, std::int64_t y1,
                                 std::int64_t x0, std::int64_t x1, const T* dy, const T* packed,
                                 const T* x, T* dx, T* sums) {
  convolve_tile<3, false, T>(s, {0, y0, y1, x0, x1},
                             {.in = dy, .packed = packed, .out = dx, .x = x, .sums = sums});
}

// Sums of the tiles [tiles][C / L][taps + 1][L], added in order.
template <class T>
void depthwise_square_unpack_sums(const T* partial, std::int64_t tiles, std::int64_t taps,
                                  std::int64_t c, T* dweight, T* dbias) {
  constexpr int L = kLanes<T>;
  parallel_each(c / L * (taps + 1), 64, [=](std::int64_t i) {
    const std::int64_t block = i / (taps + 1), tap = i % (taps + 1);
    T* out = tap == taps ? dbias : dweight ? dweight + tap * c : nullptr;
    if (out == nullptr) return;
    Vec<T> sum = {};
    for (std::int64_t t = 0; t < tiles; ++t) sum += load(partial + (t * (taps + 1) * c) + i * L);
    store(out + block * L, sum);
  });
}

#define NEXTGRAD_INSTANTIATE(T)                                                                   \
  template bool depthwise_square_fits<T>(const DepthwiseShape&);                                  \
  template void depthwise_square_forward<T>(const DepthwiseShape&, const T*, const T*, const T*,  \
                                            const T*, T*);                                        \
  template void depthwise_square_backward<T>(const DepthwiseShape&, const T*, const T*, const T*, \
                                             T*, T*, T*);                                         \
  template void depthwise_square_pack<T>(const T*, const T*, std::int64_t, std::int64_t, bool,    \
                                         T*);                                                     \
  template void depthwise_3x3_part<T>(const DepthwiseShape&, std::int64_t, std::int64_t,          \
                                      std::int64_t, std::int64_t, const T*, const T*, T*);        \
  template void depthwise_3x3_part_backward<T>(const DepthwiseShape&, std::int64_t, std::int64_t, \
                                               std::int64_t, std::int64_t, const T*, const T*,    \
                                               const T*, T*, T*);                                 \
  template void depthwise_square_unpack_sums<T>(const T*, std::int64_t, std::int64_t,             \
                                                std::int64_t, T*, T*);
NEXTGRAD_INSTANTIATE(float)
NEXTGRAD_INSTANTIATE(double)
#undef NEXTGRAD_INSTANTIATE

}  // namespace nextgrad::cpu
