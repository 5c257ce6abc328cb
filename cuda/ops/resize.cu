// Resize. A thread owns a pack of channels of one pixel: forward, of the output, and blends its
// four neighbours; backward, of the source, and sums the outputs that read it.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/index.h"
#include "cuda/kit/taps.h"

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
#pragma unroll
      for (int k = 0; k < N; ++k) a0[k] = (w00 * a0[k] + w01 * a1[k]) + (w10 * b0[k] + w11 * b1[k]);
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
#pragma unroll
        for (int k = 0; k < N; ++k) line[k] += weight * g[k];
      }
      const C weight = weight_of<C>(rows, y, oy);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += weight * line[k];
    }
    store<N>(dx + (row * s.w + column) * s.c + pack * N, sum);
  });
}

void check_extents(const Shape& x, std::int64_t h, std::int64_t w) {
  check(x[1] > 0 && x[2] > 0 && h > 0 && w > 0, "resize: from {} to {} x {}", x.str(), h, w);
}

template <class T>
void run_forward(const Tensor& x, Tensor& y, const ResizeShape& s, const Axis& rows,
                 const Axis& columns, cudaStream_t stream) {
  const int n = pack_of<T>(s.c, x, y);
  const RowWork work(x.dim(0) * s.out_rows, s.out_w, s.c / n);
  if (work.empty()) return;
  launch("resize", n == 1 ? resize_forward<T, 1> : resize_forward<T, kPack<T>>, work.grid(), stream,
         x.data<T>(), y.data<T>(), s, rows, columns, work);
}

}  // namespace

Tensor CudaBackend::resize_band(const Tensor& x, const RowBand& band, std::int64_t w) {
  const auto [first, last] = rows_read(band);
  check(first >= band.in_top && last <= band.in_top + x.dim(1),
        "resize: rows {} to {} are wanted, {} to {} are there", first, last - 1, band.in_top,
        band.in_top + x.dim(1) - 1);
  check_extents(x.shape(), band.out_rows, w);
  const ResizeShape s{x.dim(1), x.dim(2), band.out_rows, w, x.dim(3), band.in_top, band.out_top};
  Tensor y = empty({x.dim(0), band.out_rows, w, s.c}, x.dtype());
  Scope scope(*this, "resize", 7.0 * static_cast<double>(y.numel()),
              static_cast<double>(x.nbytes() + y.nbytes()));
  dispatch_activation(x.dtype(), "resize", [&](auto zero) {
    run_forward<decltype(zero)>(x, y, s, axis_of(band.in_height, band.out_height, Resize::bilinear),
                                axis_of(s.w, w, Resize::bilinear), stream_);
  });
  return y;
}

Tensor CudaBackend::resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) {
  check_extents(x.shape(), h, w);
  const ResizeShape s{x.dim(1), x.dim(2), h, w, x.dim(3)};
  Tensor y = empty({x.dim(0), h, w, s.c}, x.dtype());
  Scope scope(*this, "resize", 7.0 * static_cast<double>(y.numel()),
              static_cast<double>(x.nbytes() + y.nbytes()));
  dispatch_activation(x.dtype(), "resize", [&](auto zero) {
    run_forward<decltype(zero)>(x, y, s, axis_of(s.rows, h, mode), axis_of(s.w, w, mode), stream_);
  });
  return y;
}

Tensor CudaBackend::resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) {
  check_extents(x_shape, dy.dim(1), dy.dim(2));
  const ResizeShape s{x_shape[1], x_shape[2], dy.dim(1), dy.dim(2), x_shape[3]};
  Tensor dx = empty(x_shape, dy.dtype());
  Scope scope(*this, "resize_backward", 7.0 * static_cast<double>(dy.numel()),
              static_cast<double>(dx.nbytes() + dy.nbytes()));
  dispatch_activation(dy.dtype(), "resize_backward", [&](auto zero) {
    using T = decltype(zero);
    const int n = pack_of<T>(s.c, dy, dx);
    const RowWork work(x_shape[0] * s.rows, s.w, s.c / n);
    if (work.empty()) return;
    launch("resize_backward", n == 1 ? resize_gather<T, 1> : resize_gather<T, kPack<T>>,
           work.grid(), stream_, dy.data<T>(), dx.data<T>(), s, axis_of(s.rows, s.out_rows, mode),
           axis_of(s.w, s.out_w, mode), work);
  });
  return dx;
}

}  // namespace nextgrad::cuda
