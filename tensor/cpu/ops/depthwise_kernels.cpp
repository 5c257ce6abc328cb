// Depth-wise convolution, blocked over channels and pixels.
//
// Two vectors of channels at a time (kBlock), a tile of the zero-padded input is copied so that its
// channels are contiguous:  tile [rows + halo][columns + halo][kBlock], small enough for L1/L2.
// Forward: kPixels neighbouring outputs x kBlock channels of sums stay in registers while all taps
// run; each tap costs two weight loads for 2 * kPixels multiply-adds. Weight gradient: kPixels taps
// x kBlock channels of sums stay in registers while all pixels of the tile run.
#include <algorithm>
#include <vector>

#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/cpu/kit/simd.h"
#include "tensor/cpu/ops/depthwise.h"

namespace nextgrad::cpu {

namespace {

struct TileScratch;
struct WeightScratch;
struct GradientScratch;

template <class T>
inline constexpr int kBlock = 2 * kLanes<T>;
inline constexpr int kPixels = kVectorRegisters == 32 ? 12 : 6;

struct Tiling {
  std::int64_t th, tw;         // outputs per tile
  std::int64_t rows, columns;  // inputs per full tile, halo included
};

Tiling tiling(const DepthwiseShape& s) {
  const Window& k = s.window;
  Tiling t{};
  if (k.kh == 1) {
    t.tw = std::min<std::int64_t>(s.ow, 252);
    t.th = std::min<std::int64_t>(s.oh, std::max<std::int64_t>(1, 512 / t.tw));
  } else if (k.kw == 1) {
    t.tw = std::min<std::int64_t>(s.ow, 2 * kPixels);
    t.th = std::min<std::int64_t>(s.oh, 64);
  } else {
    t.tw = std::min<std::int64_t>(s.ow, 36);
    t.th = std::min<std::int64_t>(s.oh, 16);
  }
  t.rows = (t.th - 1) * k.stride_h + std::int64_t{k.dilation_h} * (k.kh - 1) + 1;
  t.columns = (t.tw - 1) * k.stride_w + std::int64_t{k.dilation_w} * (k.kw - 1) + 1;
  return t;
}

// Copies inputs from (y0, x0), which may lie outside the image, into tile [rows][columns][kBlock].
template <class T>
void pack_tile(const DepthwiseShape& s, const T* image, std::int64_t y0, std::int64_t x0,
               std::int64_t rows, std::int64_t columns, std::int64_t c0, std::int64_t channels,
               T* tile) {
  constexpr std::int64_t B = kBlock<T>;
  const std::int64_t left = std::clamp<std::int64_t>(-x0, 0, columns);
  const std::int64_t right = std::clamp<std::int64_t>(s.w - x0, left, columns);
  for (std::int64_t r = 0; r < rows; ++r) {
    T* out = tile + r * columns * B;
    const std::int64_t y = y0 + r;
    if (y < 0 || y >= s.h) {
      std::fill_n(out, columns * B, T{0});
      continue;
    }
    std::fill_n(out, left * B, T{0});
    const T* in = image + (y * s.w + x0) * s.c + c0;
    if (channels == B) {
      for (std::int64_t x = left; x < right; ++x) {
        store(out + x * B, load(in + x * s.c));
        store(out + x * B + B / 2, load(in + x * s.c + B / 2));
      }
    } else {
      for (std::int64_t x = left; x < right; ++x) {
        std::copy_n(in + x * s.c, channels, out + x * B);
        std::fill_n(out + x * B + channels, B - channels, T{0});
      }
    }
    std::fill_n(out + right * B, (columns - right) * B, T{0});
  }
}

// Weights [taps][C] -> [taps][kBlock] of one channel block; `flip` reverses the taps.
template <class T>
void pack_weights(const T* weight, std::int64_t taps, std::int64_t c, std::int64_t c0,
                  std::int64_t channels, bool flip, T* packed) {
  for (std::int64_t t = 0; t < taps; ++t) {
    T* out = packed + t * kBlock<T>;
    std::copy_n(weight + (flip ? taps - 1 - t : t) * c + c0, channels, out);
    std::fill(out + channels, out + kBlock<T>, T{0});
  }
}

// Sums of `Pixels` neighbouring outputs over all taps, added to base and bias and stored.
template <class T, int Pixels>
void pixels(const Window& k, const T* in, std::int64_t tile_columns, const T* weight, const T* bias,
            const T* base, T* out, std::int64_t c, std::int64_t channels) {
  constexpr std::int64_t B = kBlock<T>;
  constexpr int L = kLanes<T>;
  const std::int64_t step = k.stride_w * B, next_tap = k.dilation_w * B;
  Vec<T> sum[Pixels][2] = {};
  for (int ky = 0; ky < k.kh; ++ky) {
    const T* row = in + ky * k.dilation_h * tile_columns * B;
    for (int kx = 0; kx < k.kw; ++kx, row += next_tap, weight += B) {
      const Vec<T> w0 = load(weight), w1 = load(weight + L);
#pragma GCC unroll 12
      for (int p = 0; p < Pixels; ++p) {
        sum[p][0] += load(row + p * step) * w0;
        sum[p][1] += load(row + p * step + L) * w1;
      }
    }
  }
  if (channels == B) {
    const Vec<T> b0 = bias ? load(bias) : Vec<T>{}, b1 = bias ? load(bias + L) : Vec<T>{};
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p) {
      const Vec<T> y0 = base ? load(base + p * c) : Vec<T>{};
      const Vec<T> y1 = base ? load(base + p * c + L) : Vec<T>{};
      store(out + p * c, sum[p][0] + b0 + y0);
      store(out + p * c + L, sum[p][1] + b1 + y1);
    }
    return;
  }
#pragma GCC unroll 12
  for (int p = 0; p < Pixels; ++p) {
    T row[B];
    store(row, sum[p][0]);
    store(row + L, sum[p][1]);
    for (std::int64_t j = 0; j < channels; ++j)
      out[p * c + j] = row[j] + (bias ? bias[j] : T{0}) + (base ? base[p * c + j] : T{0});
  }
}

template <class T, int Pixels = kPixels>
void pixels_of(std::int64_t count, const Window& k, const T* in, std::int64_t tile_columns,
               const T* weight, const T* bias, const T* base, T* out, std::int64_t c,
               std::int64_t channels) {
  if (count >= Pixels)
    return pixels<T, Pixels>(k, in, tile_columns, weight, bias, base, out, c, channels);
  if constexpr (Pixels > 1)
    pixels_of<T, Pixels - 1>(count, k, in, tile_columns, weight, bias, base, out, c, channels);
}

// One channel block of one tile of outputs.
template <class T>
void forward_tile(const DepthwiseShape& s, const Tiling& t, const T* tile, std::int64_t y0,
                  std::int64_t x0, std::int64_t rows, std::int64_t columns, const T* weight,
                  const T* bias, const T* base, T* y, std::int64_t channels) {
  constexpr std::int64_t B = kBlock<T>;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t x = 0; x < columns; x += kPixels) {
      const std::int64_t at = ((y0 + r) * s.ow + x0 + x) * s.c;
      const T* in = tile + (r * s.window.stride_h * t.columns + x * s.window.stride_w) * B;
      pixels_of<T>(columns - x, s.window, in, t.columns, weight, bias, base ? base + at : nullptr,
                   y + at, s.c, channels);
    }
  }
}

template <class T>
void convolve(const DepthwiseShape& s, const T* x, const T* weight, bool flip, const T* bias,
              const T* base, T* y) {
  constexpr std::int64_t B = kBlock<T>;
  const Tiling t = tiling(s);
  const std::int64_t blocks = (s.c + B - 1) / B, bands = (s.oh + t.th - 1) / t.th;
  parallel_tasks(s.n * blocks * bands, [&](std::int64_t task) {
    const std::int64_t block = task % blocks, band = task / blocks % bands;
    const std::int64_t image = task / blocks / bands;
    const std::int64_t c0 = block * B, channels = std::min(B, s.c - c0);
    T* tile = scratch<TileScratch, T>(t.rows * t.columns * B);
    T* w = scratch<WeightScratch, T>(s.taps() * B);
    pack_weights(weight, s.taps(), s.c, c0, channels, flip, w);
    const std::int64_t y0 = band * t.th, rows = std::min(t.th, s.oh - y0);
    for (std::int64_t x0 = 0; x0 < s.ow; x0 += t.tw) {
      pack_tile(s, x + image * s.h * s.w * s.c, y0 * s.window.stride_h - s.window.pad_h,
                x0 * s.window.stride_w - s.window.pad_w, t.rows, t.columns, c0, channels, tile);
      const std::int64_t out = image * s.oh * s.ow * s.c + c0;
      forward_tile(s, t, tile, y0, x0, rows, std::min(t.tw, s.ow - x0), w,
                   bias ? bias + c0 : nullptr, base ? base + out : nullptr, y + out, channels);
    }
  });
}

// Adds to sums [Taps][kBlock] the products of dy and the input at `Taps` taps (offsets into the
// tile) over all pixels of a tile of outputs.
template <class T, int Taps>
void tap_sums(const std::int64_t* offsets, const T* tile, std::int64_t in_row, std::int64_t in_step,
              const T* dy, std::int64_t rows, std::int64_t columns, std::int64_t dy_row, T* sums) {
  constexpr std::int64_t B = kBlock<T>;
  constexpr int L = kLanes<T>;
  Vec<T> sum[Taps][2];
  const T* first[Taps];
#pragma GCC unroll 12
  for (int i = 0; i < Taps; ++i) {
    sum[i][0] = load(sums + i * B);
    sum[i][1] = load(sums + i * B + L);
    first[i] = tile + offsets[i];
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* g = dy + r * dy_row;
    std::int64_t at = r * in_row;
    for (std::int64_t x = 0; x < columns; ++x, g += B, at += in_step) {
      const Vec<T> g0 = load(g), g1 = load(g + L);
#pragma GCC unroll 12
      for (int i = 0; i < Taps; ++i) {
        sum[i][0] += load(first[i] + at) * g0;
        sum[i][1] += load(first[i] + at + L) * g1;
      }
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < Taps; ++i) {
    store(sums + i * B, sum[i][0]);
    store(sums + i * B + L, sum[i][1]);
  }
}

template <class T, int Taps = kPixels>
void tap_sums_of(std::int64_t count, const std::int64_t* offsets, const T* tile,
                 std::int64_t in_row, std::int64_t in_step, const T* dy, std::int64_t rows,
                 std::int64_t columns, std::int64_t dy_row, T* sums) {
  if (count >= Taps)
    return tap_sums<T, Taps>(offsets, tile, in_row, in_step, dy, rows, columns, dy_row, sums);
  if constexpr (Taps > 1)
    tap_sums_of<T, Taps - 1>(count, offsets, tile, in_row, in_step, dy, rows, columns, dy_row,
                             sums);
}

// Sums of one channel block over the tile rows [band_begin, band_end) of one image, added to
// sums [taps + 1][kBlock]; the last row is the bias gradient.
template <class T>
void weight_gradient_bands(const DepthwiseShape& s, const Tiling& t, const T* x, const T* dy,
                           std::int64_t c0, std::int64_t band_begin, std::int64_t band_end,
                           T* sums) {
  constexpr std::int64_t B = kBlock<T>;
  const Window& k = s.window;
  const std::int64_t channels = std::min(B, s.c - c0);
  T* tile = scratch<TileScratch, T>(t.rows * t.columns * B);
  T* g = scratch<GradientScratch, T>(t.th * t.tw * B);
  std::vector<std::int64_t> offsets;
  for (int ky = 0; ky < k.kh; ++ky)
    for (int kx = 0; kx < k.kw; ++kx)
      offsets.push_back((ky * k.dilation_h * t.columns + kx * k.dilation_w) * B);
  DepthwiseShape out = s;
  out.h = s.oh;
  out.w = s.ow;
  for (std::int64_t band = band_begin; band < band_end; ++band) {
    const std::int64_t y0 = band * t.th, rows = std::min(t.th, s.oh - y0);
    for (std::int64_t x0 = 0; x0 < s.ow; x0 += t.tw) {
      const std::int64_t columns = std::min(t.tw, s.ow - x0);
      pack_tile(s, x, y0 * k.stride_h - k.pad_h, x0 * k.stride_w - k.pad_w, t.rows, t.columns, c0,
                channels, tile);
      pack_tile(out, dy, y0, x0, rows, columns, c0, channels, g);
      for (std::int64_t tap = 0; tap < s.taps(); tap += kPixels)
        tap_sums_of<T>(s.taps() - tap, offsets.data() + tap, tile, k.stride_h * t.columns * B,
                       k.stride_w * B, g, rows, columns, columns * B, sums + tap * B);
      T* bias = sums + s.taps() * B;
      for (std::int64_t i = 0; i < rows * columns; ++i)
        for (std::int64_t j = 0; j < B; ++j) bias[j] += g[i * B + j];
    }
  }
}

}  // namespace

template <class T>
void depthwise_forward(const DepthwiseShape& s, const T* x, const T* weight, const T* bias,
                       const T* base, T* y) {
  convolve(s, x, weight, false, bias, base, y);
}

template <class T>
void depthwise_input_gradient(const DepthwiseShape& s, const T* dy, const T* weight, T* dx) {
  const Window& k = s.window;
  const std::int64_t reach_h = std::int64_t{k.dilation_h} * (k.kh - 1);
  const std::int64_t reach_w = std::int64_t{k.dilation_w} * (k.kw - 1);
  if (k.stride_h == 1 && k.stride_w == 1 && reach_h >= k.pad_h && reach_w >= k.pad_w) {
    // The transpose of a convolution of stride 1 is the convolution with reversed taps.
    DepthwiseShape back = s;
    std::swap(back.h, back.oh);
    std::swap(back.w, back.ow);
    back.window.pad_h = static_cast<int>(reach_h) - k.pad_h;
    back.window.pad_w = static_cast<int>(reach_w) - k.pad_w;
    return convolve<T>(back, dy, weight, true, nullptr, nullptr, dx);
  }
  parallel_for(s.n * s.h, 1, [&](std::int64_t begin, std::int64_t end) {
    std::fill(dx + begin * s.w * s.c, dx + end * s.w * s.c, T{0});
    for (std::int64_t row = begin; row < end; ++row)
      for (int ky = 0; ky < k.kh; ++ky) {
        const std::int64_t oy = row % s.h + k.pad_h - ky * k.dilation_h;
        if (oy < 0 || oy % k.stride_h != 0 || oy / k.stride_h >= s.oh) continue;
        const T* g = dy + (row / s.h * s.oh + oy / k.stride_h) * s.ow * s.c;
        for (int kx = 0; kx < k.kw; ++kx)
          for (std::int64_t x = 0; x < s.w; ++x) {
            const std::int64_t ox = x + k.pad_w - kx * k.dilation_w;
            if (ox < 0 || ox % k.stride_w != 0 || ox / k.stride_w >= s.ow) continue;
            const T* from = g + ox / k.stride_w * s.c;
            const T* w = weight + (ky * k.kw + kx) * s.c;
            T* to = dx + (row * s.w + x) * s.c;
#pragma omp simd
            for (std::int64_t c = 0; c < s.c; ++c) to[c] += from[c] * w[c];
          }
      }
  });
}

template <class T>
void depthwise_weight_gradient(const DepthwiseShape& s, const T* x, const T* dy, T* dweight,
                               T* dbias) {
  constexpr std::int64_t B = kBlock<T>;
  const Tiling t = tiling(s);
  const std::int64_t blocks = (s.c + B - 1) / B, bands = (s.oh + t.th - 1) / t.th;
  const std::int64_t groups = std::min<std::int64_t>(bands, 4);  // of bands, per image: fixed
  const std::int64_t size = (s.taps() + 1) * B;
  const Tensor buffer = Tensor::zeros({s.n * groups * blocks, size}, dtype_of<T>);
  T* partial = buffer.data<T>();
  parallel_tasks(s.n * groups * blocks, [&](std::int64_t task) {
    const std::int64_t block = task % blocks, group = task / blocks % groups;
    const std::int64_t image = task / blocks / groups;
    weight_gradient_bands(s, t, x + image * s.h * s.w * s.c, dy + image * s.oh * s.ow * s.c,
                          block * B, bands * group / groups, bands * (group + 1) / groups,
                          partial + task * size);
  });
  parallel_for(blocks * (s.taps() + 1), 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t block = i / (s.taps() + 1), tap = i % (s.taps() + 1);
      T* out = tap == s.taps() ? dbias : dweight ? dweight + tap * s.c : nullptr;
      if (out == nullptr) continue;
      for (std::int64_t j = 0; j < std::min(B, s.c - block * B); ++j) {
        T sum = 0;
        for (std::int64_t part = 0; part < s.n * groups; ++part)
          sum += partial[(part * blocks + block) * size + tap * B + j];
        out[block * B + j] = sum;
      }
    }
  });
}

#define NEXTGRAD_INSTANTIATE(T)                                                             \
  template void depthwise_forward<T>(const DepthwiseShape&, const T*, const T*, const T*,   \
                                     const T*, T*);                                         \
  template void depthwise_input_gradient<T>(const DepthwiseShape&, const T*, const T*, T*); \
  template void depthwise_weight_gradient<T>(const DepthwiseShape&, const T*, const T*, T*, T*);
NEXTGRAD_INSTANTIATE(float)
NEXTGRAD_INSTANTIATE(double)
#undef NEXTGRAD_INSTANTIATE

}  // namespace nextgrad::cpu
