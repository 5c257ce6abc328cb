// Resize. A thread owns a pack of channels of one pixel: forward, of the output, and blends its
// four neighbours; backward, of the source, and sums the outputs that read it.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/index.h"
#include "cuda/kit/taps.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

// Images of `rows` rows of w pixels; output rows from out_top on, source rows from in_top on.
struct ResizeShape {
  std::int64_t rows, w, out_rows, out_w, c, in_top = 0, out_top = 0;
};

template <class T, int N>
__global__ void resize_forward(const T* x, T* y, ResizeShape s, Axis rows, Axis columns,
                               RowWork work) {
  using C = Compute<T>;
  for_each_pack(work, [&](std::int64_t row, int column, int pack) {
    const std::int64_t image = row / s.out_rows;
    const auto ty = tap_at<C>(rows, row - image * s.out_rows + s.out_top);
    const auto tx = tap_at<C>(columns, column);
    const T* above = x + (image * s.rows + ty.first - s.in_top) * s.w * s.c + pack * N;
    const T* below = x + (image * s.rows + ty.second - s.in_top) * s.w * s.c + pack * N;
    C a0[N], a1[N], b0[N], b1[N];
    load<N>(above + tx.first * s.c, a0);
    if (!rows.nearest) {
      load<N>(above + tx.second * s.c, a1);
      load<N>(below + tx.first * s.c, b0);
      load<N>(below + tx.second * s.c, b1);
      const C t = tx.t, u = C(1) - t, v = C(1) - ty.t;
      const C w00 = v * u, w01 = v * t, w10 = ty.t * u, w11 = ty.t * t;
      unroll<N>([&](int k) { a0[k] = (w00 * a0[k] + w01 * a1[k]) + (w10 * b0[k] + w11 * b1[k]); });
    }
    store<N>(y + (row * s.out_w + column) * s.c + pack * N, a0);
  });
}

template <class T, int N>
__global__ void resize_gather(const T* dy, T* dx, ResizeShape s, Axis rows, Axis columns,
                              RowWork work) {
  using C = Compute<T>;
  for_each_pack(work, [&](std::int64_t row, int column, int pack) {
    const std::int64_t image = row / s.rows, y = row - image * s.rows;
    const Readers vertical = readers_of(rows, y), across = readers_of(columns, column);
    C sum[N] = {};
    for (std::int64_t oy = vertical.begin; oy < vertical.end; ++oy) {
      const T* from = dy + (image * s.out_rows + oy) * s.out_w * s.c + pack * N;
      C line[N] = {};
      for (std::int64_t ox = across.begin; ox < across.end; ++ox) {
        const C weight = weight_of<C>(columns, column, ox);
        C g[N];
        load<N>(from + ox * s.c, g);
        unroll<N>([&](int k) { line[k] += weight * g[k]; });
      }
      const C weight = weight_of<C>(rows, y, oy);
      unroll<N>([&](int k) { sum[k] += weight * line[k]; });
    }
    store<N>(dx + (row * s.w + column) * s.c + pack * N, sum);
  });
}

Tensor forward(const Tensor& x, const ResizeShape& s, const Axis& rows, const Axis& columns,
               cudaStream_t stream) {
  Tensor y = Tensor::empty({x.dim(0), s.out_rows, s.out_w, s.c}, x.dtype(), x.device());
  dispatch_packs("resize", s.c, {x, y}, [&]<class T, int N>() {
    const RowWork work(x.dim(0) * s.out_rows, s.out_w, s.c / N);
    launch("resize", resize_forward<T, N>, work.grid(), stream, x, y, s, rows, columns, work);
  });
  return y;
}

}  // namespace

Tensor CudaBackend::resize_band(const Tensor& x, const RowBand& band, std::int64_t w) {
  check_band(x, band);
  const ResizeExtents e = resize_extents("resize", x.shape(), band.out_rows, w);
  Scope scope(*this, costs::resize("resize", e, x.dtype()));
  return forward(x, {e.h, e.w, e.oh, e.ow, e.c, band.in_top, band.out_top},
                 axis_of(band.in_height, band.out_height, Resize::bilinear),
                 axis_of(e.w, w, Resize::bilinear), stream_);
}

Tensor CudaBackend::resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) {
  const ResizeExtents e = resize_extents("resize", x.shape(), h, w);
  Scope scope(*this, costs::resize("resize", e, x.dtype()));
  return forward(x, {e.h, e.w, h, w, e.c}, axis_of(e.h, h, mode), axis_of(e.w, w, mode), stream_);
}

Tensor CudaBackend::resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) {
  const ResizeExtents e = resize_extents("resize", x_shape, dy.dim(1), dy.dim(2));
  Scope scope(*this, costs::resize("resize_backward", e, dy.dtype()));
  Tensor dx = empty(x_shape, dy.dtype());
  dispatch_packs("resize_backward", e.c, {dy, dx}, [&]<class T, int N>() {
    const RowWork work(e.n * e.h, e.w, e.c / N);
    launch("resize_backward", resize_gather<T, N>, work.grid(), stream_, dy, dx,
           ResizeShape{e.h, e.w, e.oh, e.ow, e.c}, axis_of(e.h, e.oh, mode),
           axis_of(e.w, e.ow, mode), work);
  });
  return dx;
}

}  // namespace nextgrad::cuda
