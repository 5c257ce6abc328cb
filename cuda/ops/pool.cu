// Pooling. A thread owns a pack of channels of one pixel: of the output (forward) or of the source
// (average backward); the maximum's gradient scatters, so there a thread owns a channel of an image
// and adds the outputs in order.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/index.h"

namespace nextgrad::cuda {
namespace {

struct PoolShape {
  int h, w, oh, ow;
  std::int64_t c;
  Window p;
};

// Calls fn(position, pixel offset) for the positions of the window of output (oy, ox) that are
// inside the image.
template <class Fn>
__device__ __forceinline__ void for_window(const PoolShape& s, int oy, int ox, Fn&& fn) {
  for (int i = 0; i < s.p.kh; ++i) {
    const int y = oy * s.p.stride_h - s.p.pad_h + i * s.p.dilation_h;
    if (y < 0 || y >= s.h) continue;
    for (int j = 0; j < s.p.kw; ++j) {
      const int x = ox * s.p.stride_w - s.p.pad_w + j * s.p.dilation_w;
      if (x >= 0 && x < s.w) fn(y * s.w + x);
    }
  }
}

// Of k positions from `begin` on, `dilation` apart, how many are in [0, size).
__device__ __forceinline__ int inside(int begin, int k, int dilation, int size) {
  int count = 0;
  for (int i = 0; i < k; ++i) {
    const int at = begin + i * dilation;
    count += at >= 0 && at < size ? 1 : 0;
  }
  return count;
}

// 1 / the number of positions of output (oy, ox)'s window that count.
template <class C>
__device__ __forceinline__ C window_scale(const PoolShape& s, int oy, int ox, bool count_padding) {
  if (count_padding) return C(1) / static_cast<C>(s.p.kh * s.p.kw);
  const int count = inside(oy * s.p.stride_h - s.p.pad_h, s.p.kh, s.p.dilation_h, s.h) *
                    inside(ox * s.p.stride_w - s.p.pad_w, s.p.kw, s.p.dilation_w, s.w);
  return count > 0 ? C(1) / static_cast<C>(count) : C(0);
}

template <class T, int N>
__global__ void max_pool_kernel(const T* x, T* y, std::int32_t* indices, PoolShape s,
                                RowWork work) {
  using C = Compute<T>;
  for_each_pack(work, [&](std::int64_t row, int ox, int pack) {
    const std::int64_t image = row / s.oh;
    const T* from = x + image * s.h * s.w * s.c + pack * N;
    C best[N];
    std::int32_t index[N];
#pragma unroll
    for (int k = 0; k < N; ++k) best[k] = -C(INFINITY), index[k] = -1;
    for_window(s, static_cast<int>(row - image * s.oh), ox, [&](int at) {
      C v[N];
      load<N>(from + at * s.c, v);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        // The first of equals; NaN wins; an index is set even if all are -infinity.
        const bool wins = index[k] < 0 || v[k] > best[k] || v[k] != v[k];
        best[k] = wins ? v[k] : best[k];
        index[k] = wins ? at : index[k];
      }
    });
    const std::int64_t to = (row * s.ow + ox) * s.c + pack * N;
    store<N>(y + to, best);
#pragma unroll
    for (int k = 0; k < N; ++k) indices[to + k] = index[k];
  });
}

// One thread a channel of an image; `dx` starts at zero.
template <class T>
__global__ void scatter_maxima(const T* dy, const std::int32_t* indices, Compute<T>* dx,
                               std::int64_t pixels, std::int64_t out_pixels, std::int64_t channels,
                               std::int64_t threads) {
  for (std::int64_t i = global_index(); i < threads; i += global_threads()) {
    const std::int64_t image = i / channels, c = i - image * channels;
    Compute<T>* to = dx + image * pixels * channels + c;
    const std::int64_t first = image * out_pixels * channels + c;
#pragma unroll 4
    for (std::int64_t o = 0; o < out_pixels; ++o) {
      const std::int32_t at = indices[first + o * channels];
      if (at >= 0) to[at * channels] += widen(dy[first + o * channels]);
    }
  }
}

template <class T, int N>
__global__ void average_pool_kernel(const T* x, T* y, PoolShape s, bool count_padding,
                                    RowWork work) {
  using C = Compute<T>;
  for_each_pack(work, [&](std::int64_t row, int ox, int pack) {
    const std::int64_t image = row / s.oh;
    const int oy = static_cast<int>(row - image * s.oh);
    const T* from = x + image * s.h * s.w * s.c + pack * N;
    C sum[N] = {};
    for_window(s, oy, ox, [&](int at) {
      C v[N];
      load<N>(from + at * s.c, v);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += v[k];
    });
    const C scale = window_scale<C>(s, oy, ox, count_padding);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] *= scale;
    store<N>(y + (row * s.ow + ox) * s.c + pack * N, sum);
  });
}

// The output whose window has the source position at its tap: -1 if none.
__device__ __forceinline__ int output_of(int position, int pad, int tap, int dilation, int stride,
                                         int outputs) {
  const int t = position + pad - tap * dilation, o = t / stride;
  return t < 0 || o * stride != t || o >= outputs ? -1 : o;
}

template <class T, int N>
__global__ void average_gather(const T* dy, T* dx, PoolShape s, bool count_padding, RowWork work) {
  using C = Compute<T>;
  for_each_pack(work, [&](std::int64_t row, int x, int pack) {
    const std::int64_t image = row / s.h;
    const int y = static_cast<int>(row - image * s.h);
    C sum[N] = {};
    for (int i = 0; i < s.p.kh; ++i) {
      const int oy = output_of(y, s.p.pad_h, i, s.p.dilation_h, s.p.stride_h, s.oh);
      if (oy < 0) continue;
      const T* from = dy + (image * s.oh + oy) * s.ow * s.c + pack * N;
      for (int j = 0; j < s.p.kw; ++j) {
        const int ox = output_of(x, s.p.pad_w, j, s.p.dilation_w, s.p.stride_w, s.ow);
        if (ox < 0) continue;
        const C scale = window_scale<C>(s, oy, ox, count_padding);
        C g[N];
        load<N>(from + ox * s.c, g);
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] += scale * g[k];
      }
    }
    store<N>(dx + (row * s.w + x) * s.c + pack * N, sum);
  });
}

PoolShape shape_of(const char* name, const Shape& x, const Window& p) {
  const std::int64_t oh = p.out_h(x[1]), ow = p.out_w(x[2]);
  check(oh > 0 && ow > 0, "{}: window {} x {} does not fit into {}", name, p.kh, p.kw, x.str());
  return {static_cast<int>(x[1]),
          static_cast<int>(x[2]),
          static_cast<int>(oh),
          static_cast<int>(ow),
          x[3],
          p};
}

double work_of(const Tensor& y, const Window& p) {
  return static_cast<double>(y.numel()) * p.kh * p.kw;
}

}  // namespace

Tensor CudaBackend::max_pool(const Tensor& x, const Window& window, Tensor& indices) {
  const PoolShape s = shape_of("max_pool", x.shape(), window);
  Tensor y = empty({x.dim(0), s.oh, s.ow, s.c}, x.dtype());
  indices = empty(y.shape(), DType::i32);
  Scope scope(*this, "max_pool", work_of(y, window),
              static_cast<double>(x.nbytes() + 2 * y.nbytes()));
  dispatch_activation(x.dtype(), "max_pool", [&](auto zero) {
    using T = decltype(zero);
    const int n = pack_of<T>(s.c, x, y);
    const RowWork work(x.dim(0) * s.oh, s.ow, s.c / n);
    if (work.empty()) return;
    launch("max_pool", n == 1 ? max_pool_kernel<T, 1> : max_pool_kernel<T, kPack<T>>, work.grid(),
           stream_, x.data<T>(), y.data<T>(), indices.data<std::int32_t>(), s, work);
  });
  return y;
}

Tensor CudaBackend::max_pool_backward(const Shape& x_shape, const Tensor& indices,
                                      const Tensor& dy) {
  // Sums of bf16 are kept in f32.
  Tensor sum = empty(x_shape, parameter_dtype(dy.dtype()));
  Scope scope(*this, "max_pool_backward", static_cast<double>(dy.numel()),
              static_cast<double>(sum.nbytes() + dy.nbytes() + indices.nbytes()));
  fill(sum, 0);
  const std::int64_t threads = x_shape[0] * x_shape[3];
  if (dy.numel() > 0)
    dispatch_activation(dy.dtype(), "max_pool_backward", [&](auto zero) {
      using T = decltype(zero);
      launch("max_pool_backward", scatter_maxima<T>, grid_for(threads, 64), stream_, dy.data<T>(),
             indices.data<std::int32_t>(), sum.data<Compute<T>>(), x_shape[1] * x_shape[2],
             dy.dim(1) * dy.dim(2), x_shape[3], threads);
    });
  if (sum.dtype() == dy.dtype()) return sum;
  Tensor dx = empty(x_shape, dy.dtype());
  copy(sum, dx);
  return dx;
}

Tensor CudaBackend::average_pool(const Tensor& x, const Window& window, bool count_padding) {
  const PoolShape s = shape_of("average_pool", x.shape(), window);
  Tensor y = empty({x.dim(0), s.oh, s.ow, s.c}, x.dtype());
  Scope scope(*this, "average_pool", work_of(y, window),
              static_cast<double>(x.nbytes() + y.nbytes()));
  dispatch_activation(x.dtype(), "average_pool", [&](auto zero) {
    using T = decltype(zero);
    const int n = pack_of<T>(s.c, x, y);
    const RowWork work(x.dim(0) * s.oh, s.ow, s.c / n);
    if (work.empty()) return;
    launch("average_pool", n == 1 ? average_pool_kernel<T, 1> : average_pool_kernel<T, kPack<T>>,
           work.grid(), stream_, x.data<T>(), y.data<T>(), s, count_padding, work);
  });
  return y;
}

Tensor CudaBackend::average_pool_backward(const Shape& x_shape, const Tensor& dy,
                                          const Window& window, bool count_padding) {
  const PoolShape s = shape_of("average_pool_backward", x_shape, window);
  Tensor dx = empty(x_shape, dy.dtype());
  Scope scope(*this, "average_pool_backward", work_of(dy, window),
              static_cast<double>(dx.nbytes() + dy.nbytes()));
  dispatch_activation(dy.dtype(), "average_pool_backward", [&](auto zero) {
    using T = decltype(zero);
    const int n = pack_of<T>(s.c, dy, dx);
    const RowWork work(x_shape[0] * s.h, s.w, s.c / n);
    if (work.empty()) return;
    launch("average_pool_backward", n == 1 ? average_gather<T, 1> : average_gather<T, kPack<T>>,
           work.grid(), stream_, dy.data<T>(), dx.data<T>(), s, count_padding, work);
  });
  return dx;
}

}  // namespace nextgrad::cuda
