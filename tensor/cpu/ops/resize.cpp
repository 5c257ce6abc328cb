// Resize. Forward: threads own output rows, each pixel reads its four neighbours over all channels.
// Backward: threads own source rows; the output rows that read one are summed into a row buffer,
// which is then folded along x, so nothing is written by two threads.
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/taps.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {
namespace {

std::int64_t row_grain(std::int64_t elements) {
  return 16384 / std::max<std::int64_t>(1, elements);
}

// One tap per output row; `e.oh` of them.
template <class T>
void resize_forward(const T* x, T* y, const ResizeExtents& e, const std::vector<Tap>& rows,
                    Resize mode) {
  const std::vector<Tap> columns = make_taps(e.w, e.ow, mode);
  parallel_each(e.n * e.oh, row_grain(e.ow * e.c), [&](std::int64_t r) {
    const Tap& ty = rows[r % e.oh];
    const T* image = x + r / e.oh * e.h * e.w * e.c;
    const T *a = image + ty.first * e.w * e.c, *b = image + ty.second * e.w * e.c;
    T* to = y + r * e.ow * e.c;
    for (std::int64_t i = 0; i < e.ow; ++i, to += e.c) {
      const Tap& tx = columns[i];
      if (mode == Resize::nearest) {
        std::copy_n(a + tx.first * e.c, e.c, to);
      } else {
        const std::int64_t left = tx.first * e.c, right = tx.second * e.c;
        blend_corners(a + left, a + right, b + left, b + right, e.c, static_cast<T>(ty.t),
                      static_cast<T>(tx.t), to);
      }
    }
  });
}

// dx += the row g [ow, c] folded along x.
template <class T>
void fold_row(const T* g, const std::vector<Tap>& columns, T* dx, std::int64_t c) {
  for (const Tap& tap : columns) {
    const T t = static_cast<T>(tap.t);
    accumulate(g, T(1) - t, dx + tap.first * c, c);
    if (tap.second != tap.first) accumulate(g, t, dx + tap.second * c, c);
    g += c;
  }
}

template <class T>
void resize_backward_all(const T* dy, T* dx, const ResizeExtents& e, Resize mode) {
  const std::vector<Tap> rows = make_taps(e.h, e.oh, mode), columns = make_taps(e.w, e.ow, mode);
  const std::vector<std::int64_t> starts = starts_of(rows, e.h);
  const std::int64_t wide = e.ow * e.c;
  const std::int64_t grain = row_grain(e.n * e.oh * wide / std::max<std::int64_t>(1, e.n * e.h));
  parallel_for(e.n * e.h, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> sum(wide);
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t image = r / e.h, y = r % e.h;
      std::fill(sum.begin(), sum.end(), T(0));
      std::fill_n(dx + r * e.w * e.c, e.w * e.c, T(0));
      // Read by the taps whose `first` is y, or y - 1 and with it `second` y.
      const std::int64_t above = mode == Resize::nearest ? y : std::max<std::int64_t>(0, y - 1);
      for (std::int64_t o = starts[above]; o < starts[y + 1]; ++o) {
        const Tap& tap = rows[o];
        const T weight =
            static_cast<T>((tap.first == y ? 1 - tap.t : 0.0) + (tap.second == y ? tap.t : 0.0));
        accumulate(dy + (image * e.oh + o) * wide, weight, sum.data(), wide);
      }
      fold_row(sum.data(), columns, dx + r * e.w * e.c, e.c);
    }
  });
}

Tensor resized(const Tensor& x, const ResizeExtents& e, const std::vector<Tap>& rows, Resize mode) {
  Tensor y = Tensor::empty({e.n, e.oh, e.ow, e.c}, x.dtype());
  OpScope scope(costs::resize("resize", e, x.dtype()));
  dispatch_float(x.dtype(), "resize",
                 [&]<class T>(T) { resize_forward(x.data<T>(), y.data<T>(), e, rows, mode); });
  return y;
}

}  // namespace

Tensor CpuPrimitives::resize_band(const Tensor& x, const RowBand& band, std::int64_t w) {
  check_band(x, band);
  std::vector<Tap> rows = band_taps(band);
  for (Tap& tap : rows) {
    tap.first -= band.in_top;
    tap.second -= band.in_top;
  }
  return resized(x, resize_extents("resize", x.shape(), band.out_rows, w), rows, Resize::bilinear);
}

Tensor CpuPrimitives::resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) {
  const ResizeExtents e = resize_extents("resize", x.shape(), h, w);
  return resized(x, e, make_taps(e.h, e.oh, mode), mode);
}

Tensor CpuPrimitives::resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) {
  const ResizeExtents e = resize_extents("resize", x_shape, dy.dim(1), dy.dim(2));
  Tensor dx = Tensor::empty(x_shape, dy.dtype(), dy.device());
  OpScope scope(costs::resize("resize_backward", e, dy.dtype()));
  dispatch_float(dy.dtype(), "resize_backward",
                 [&]<class T>(T) { resize_backward_all(dy.data<T>(), dx.data<T>(), e, mode); });
  return dx;
}

}  // namespace nextgrad::cpu
