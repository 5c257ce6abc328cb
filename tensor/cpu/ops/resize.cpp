// Resize. Forward: threads own output rows, each pixel reads its four neighbours over all channels.
// Backward: threads own source rows; the output rows that read one are summed into a row buffer,
// which is then folded along x, so nothing is written by two threads.
#include <limits>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/taps.h"
#include "tensor/extents.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

std::int64_t row_grain(std::int64_t elements) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, elements));
}

// y[c] of one output pixel from rows a (above) and b (below) of the source.
template <class T>
void blend_pixel(const T* a, const T* b, const Tap& tx, T ty, T* y, std::int64_t c) {
  const T* a0 = a + tx.first * c;
  const T* a1 = a + tx.second * c;
  const T* b0 = b + tx.first * c;
  const T* b1 = b + tx.second * c;
  const T t = static_cast<T>(tx.t), s = T(1) - t;
  const T w00 = (T(1) - ty) * s, w01 = (T(1) - ty) * t, w10 = ty * s, w11 = ty * t;
#pragma omp simd
  for (std::int64_t k = 0; k < c; ++k) {
    y[k] = (w00 * a0[k] + w01 * a1[k]) + (w10 * b0[k] + w11 * b1[k]);
  }
}

// One tap per output row; `e.oh` of them.
template <class T>
void resize_forward(const T* x, T* y, const ResizeExtents& e, const std::vector<Tap>& rows,
                    Resize mode) {
  const std::vector<Tap> columns = make_taps(e.w, e.ow, mode);
  parallel_for(e.n * e.oh, row_grain(e.ow * e.c), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const Tap& ty = rows[static_cast<std::size_t>(r % e.oh)];
      const T* image = x + r / e.oh * e.h * e.w * e.c;
      const T *a = image + ty.first * e.w * e.c, *b = image + ty.second * e.w * e.c;
      T* to = y + r * e.ow * e.c;
      for (std::int64_t i = 0; i < e.ow; ++i, to += e.c) {
        const Tap& tx = columns[static_cast<std::size_t>(i)];
        if (mode == Resize::nearest) {
          std::copy_n(a + tx.first * e.c, e.c, to);
        } else {
          blend_pixel(a, b, tx, static_cast<T>(ty.t), to, e.c);
        }
      }
    }
  });
}

// [first, last) of the taps that read each source position.
struct Readers {
  std::vector<std::int64_t> first, last;
  Readers(const std::vector<Tap>& taps, std::int64_t in)
      : first(static_cast<std::size_t>(in), std::numeric_limits<std::int64_t>::max()),
        last(static_cast<std::size_t>(in), 0) {
    for (std::size_t o = 0; o < taps.size(); ++o) {
      for (const std::int64_t i : {taps[o].first, taps[o].second}) {
        const auto at = static_cast<std::size_t>(i);
        first[at] = std::min(first[at], static_cast<std::int64_t>(o));
        last[at] = static_cast<std::int64_t>(o) + 1;
      }
    }
  }
};

// dx += the row g [ow, c] folded along x.
template <class T>
void fold_row(const T* g, const std::vector<Tap>& columns, T* dx, std::int64_t c) {
  for (const Tap& tap : columns) {
    T *d0 = dx + tap.first * c, *d1 = dx + tap.second * c;
    const T t = static_cast<T>(tap.t), s = T(1) - t;
    if (d0 == d1) {
#pragma omp simd
      for (std::int64_t k = 0; k < c; ++k) d0[k] += g[k];
    } else {
#pragma omp simd
      for (std::int64_t k = 0; k < c; ++k) {
        d0[k] += s * g[k];
        d1[k] += t * g[k];
      }
    }
    g += c;
  }
}

template <class T>
void resize_backward_all(const T* dy, T* dx, const ResizeExtents& e, Resize mode) {
  const std::vector<Tap> rows = make_taps(e.h, e.oh, mode), columns = make_taps(e.w, e.ow, mode);
  const Readers readers(rows, e.h);
  const std::int64_t wide = e.ow * e.c;
  const std::int64_t grain = row_grain(e.n * e.oh * wide / std::max<std::int64_t>(1, e.n * e.h));
  parallel_for(e.n * e.h, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> sum(static_cast<std::size_t>(wide));
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t image = r / e.h, y = r % e.h;
      std::fill(sum.begin(), sum.end(), T(0));
      std::fill_n(dx + r * e.w * e.c, e.w * e.c, T(0));
      for (std::int64_t o = readers.first[static_cast<std::size_t>(y)];
           o < readers.last[static_cast<std::size_t>(y)]; ++o) {
        const Tap& tap = rows[static_cast<std::size_t>(o)];
        const T weight =
            static_cast<T>((tap.first == y ? 1 - tap.t : 0.0) + (tap.second == y ? tap.t : 0.0));
        accumulate(dy + (image * e.oh + o) * wide, weight, sum.data(), wide);
      }
      fold_row(sum.data(), columns, dx + r * e.w * e.c, e.c);
    }
  });
}

}  // namespace

Tensor CpuBackend::resize_band(const Tensor& x, const RowBand& band, std::int64_t w) {
  check_band(x, band);
  std::vector<Tap> rows = band_taps(band);
  for (Tap& tap : rows) {
    tap.first -= band.in_top;
    tap.second -= band.in_top;
  }
  const ResizeExtents e = resize_extents("resize", x.shape(), band.out_rows, w);
  Tensor y = Tensor::empty({e.n, e.oh, w, e.c}, x.dtype(), x.device());
  OpScope scope("resize", e.flops(), e.bytes(x.dtype()));
  dispatch_float(x.dtype(), "resize", [&](auto zero) {
    using T = decltype(zero);
    resize_forward(x.data<T>(), y.data<T>(), e, rows, Resize::bilinear);
  });
  return y;
}

Tensor CpuBackend::resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) {
  const ResizeExtents e = resize_extents("resize", x.shape(), h, w);
  Tensor y = Tensor::empty({e.n, h, w, e.c}, x.dtype(), x.device());
  OpScope scope("resize", e.flops(), e.bytes(x.dtype()));
  dispatch_float(x.dtype(), "resize", [&](auto zero) {
    using T = decltype(zero);
    resize_forward(x.data<T>(), y.data<T>(), e, make_taps(e.h, e.oh, mode), mode);
  });
  return y;
}

Tensor CpuBackend::resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) {
  const ResizeExtents e = resize_extents("resize", x_shape, dy.dim(1), dy.dim(2));
  Tensor dx = Tensor::empty(x_shape, dy.dtype(), dy.device());
  OpScope scope("resize_backward", e.flops(), e.bytes(dy.dtype()));
  dispatch_float(dy.dtype(), "resize_backward", [&](auto zero) {
    using T = decltype(zero);
    resize_backward_all(dy.data<T>(), dx.data<T>(), e, mode);
  });
  return dx;
}

}  // namespace nextgrad::cpu
