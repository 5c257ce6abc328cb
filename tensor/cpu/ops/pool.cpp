// Pooling. Threads own output rows (forward), source rows (average backward) or blocks of channels
// of an image (maximum backward, which scatters); the inner loop always runs over channels.
#include <limits>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

struct Extents {
  std::int64_t n, h, w, c, oh, ow;
};

std::int64_t row_grain(std::int64_t elements) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, elements));
}

// Calls fn(h, w) for each position inside the image of the window of output (oy, ox).
template <class Fn>
void for_window(const Extents& e, const Window& p, std::int64_t oy, std::int64_t ox, Fn&& fn) {
  for (int i = 0; i < p.kh; ++i) {
    const std::int64_t y = oy * p.stride_h - p.pad_h + std::int64_t{i} * p.dilation_h;
    if (y < 0 || y >= e.h) continue;
    for (int j = 0; j < p.kw; ++j) {
      const std::int64_t x = ox * p.stride_w - p.pad_w + std::int64_t{j} * p.dilation_w;
      if (x >= 0 && x < e.w) fn(y, x);
    }
  }
}

// Calls fn(n, oy, ox, output pixel) for all output pixels, rows split over threads.
template <class Fn>
void for_outputs(const Extents& e, const Window& p, Fn&& fn) {
  parallel_for(e.n * e.oh, row_grain(e.ow * e.c * p.kh * p.kw),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t r = begin; r < end; ++r) {
                   for (std::int64_t ox = 0; ox < e.ow; ++ox) {
                     fn(r / e.oh, r % e.oh, ox, r * e.ow + ox);
                   }
                 }
               });
}

template <class T>
void max_pool_all(const T* x, T* y, std::int32_t* indices, const Extents& e, const Window& p) {
  for_outputs(e, p, [&](std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t pixel) {
    T* best = y + pixel * e.c;
    std::int32_t* index = indices + pixel * e.c;
    std::fill_n(best, e.c, -std::numeric_limits<T>::infinity());
    std::fill_n(index, e.c, -1);
    for_window(e, p, oy, ox, [&](std::int64_t h, std::int64_t w) {
      const T* from = x + ((n * e.h + h) * e.w + w) * e.c;
      const auto at = static_cast<std::int32_t>(h * e.w + w);
      for (std::int64_t k = 0; k < e.c; ++k) {
        // The first of equals; NaN wins; an index is set even if all are -infinity.
        const bool wins = index[k] < 0 || from[k] > best[k] || from[k] != from[k];
        best[k] = wins ? from[k] : best[k];
        index[k] = wins ? at : index[k];
      }
    });
  });
}

template <class T>
void max_pool_backward_all(const T* dy, const std::int32_t* indices, T* dx, const Extents& e) {
  constexpr std::int64_t kBlock = 32;  // channels
  const std::int64_t blocks = (e.c + kBlock - 1) / kBlock, pixels = e.oh * e.ow;
  parallel_for(e.n * blocks, row_grain(pixels * kBlock), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t n = t / blocks, first = t % blocks * kBlock;
      const std::int64_t last = std::min(e.c, first + kBlock);
      T* image = dx + n * e.h * e.w * e.c;
      for (std::int64_t pixel = n * pixels; pixel < (n + 1) * pixels; ++pixel) {
        for (std::int64_t k = first; k < last; ++k) {
          const std::int64_t at = indices[pixel * e.c + k];
          if (at >= 0) image[at * e.c + k] += dy[pixel * e.c + k];
        }
      }
    }
  });
}

// 1 / the number of positions of output (oy, ox)'s window that count.
double window_scale(const Extents& e, const Window& p, std::int64_t oy, std::int64_t ox,
                    bool count_padding) {
  std::int64_t count = std::int64_t{p.kh} * p.kw;
  if (!count_padding) {
    count = 0;
    for_window(e, p, oy, ox, [&](std::int64_t, std::int64_t) { ++count; });
  }
  return count > 0 ? 1.0 / static_cast<double>(count) : 0.0;
}

template <class T>
void average_pool_all(const T* x, T* y, const Extents& e, const Window& p, bool count_padding) {
  for_outputs(e, p, [&](std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t pixel) {
    T* to = y + pixel * e.c;
    std::fill_n(to, e.c, T(0));
    for_window(e, p, oy, ox, [&](std::int64_t h, std::int64_t w) {
      const T* from = x + ((n * e.h + h) * e.w + w) * e.c;
#pragma omp simd
      for (std::int64_t k = 0; k < e.c; ++k) to[k] += from[k];
    });
    const T scale = static_cast<T>(window_scale(e, p, oy, ox, count_padding));
#pragma omp simd
    for (std::int64_t k = 0; k < e.c; ++k) to[k] *= scale;
  });
}

// Adds to the source row y of dx [w, c] the output row oy of dy.
template <class T>
void average_pool_backward_row(const T* dy, T* dx, const Extents& e, const Window& p,
                               std::int64_t oy, bool count_padding) {
  for (std::int64_t ox = 0; ox < e.ow; ++ox, dy += e.c) {
    const T scale = static_cast<T>(window_scale(e, p, oy, ox, count_padding));
    for (int j = 0; j < p.kw; ++j) {
      const std::int64_t x = ox * p.stride_w - p.pad_w + std::int64_t{j} * p.dilation_w;
      if (x < 0 || x >= e.w) continue;
      T* to = dx + x * e.c;
#pragma omp simd
      for (std::int64_t k = 0; k < e.c; ++k) to[k] += scale * dy[k];
    }
  }
}

template <class T>
void average_pool_backward_all(const T* dy, T* dx, const Extents& e, const Window& p,
                               bool count_padding) {
  const std::int64_t work = e.w * e.c * p.kh * p.kw;
  parallel_for(e.n * e.h, row_grain(work), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      T* row = dx + r * e.w * e.c;
      std::fill_n(row, e.w * e.c, T(0));
      for (int i = 0; i < p.kh; ++i) {
        const std::int64_t t = r % e.h + p.pad_h - std::int64_t{i} * p.dilation_h;
        const std::int64_t oy = t / p.stride_h;
        if (t < 0 || t % p.stride_h != 0 || oy >= e.oh) continue;
        average_pool_backward_row(dy + (r / e.h * e.oh + oy) * e.ow * e.c, row, e, p, oy,
                                  count_padding);
      }
    }
  });
}

Extents extents(const char* name, const Shape& x, const Window& p) {
  const Extents e{x[0], x[1], x[2], x[3], p.out_h(x[1]), p.out_w(x[2])};
  check(e.oh > 0 && e.ow > 0, "{}: window {} x {} does not fit into {}", name, p.kh, p.kw, x.str());
  return e;
}

double work(const Tensor& y, const Window& p) {
  return static_cast<double>(y.numel()) * p.kh * p.kw;
}

}  // namespace

Tensor CpuBackend::max_pool(const Tensor& x, const Window& window, Tensor& indices) {
  const Extents e = extents("max_pool", x.shape(), window);
  Tensor y = Tensor::empty({e.n, e.oh, e.ow, e.c}, x.dtype(), x.device());
  indices = Tensor::empty(y.shape(), DType::i32, x.device());
  OpScope scope("max_pool", work(y, window), static_cast<double>(x.nbytes() + 2 * y.nbytes()));
  dispatch_float(x.dtype(), "max_pool", [&](auto zero) {
    using T = decltype(zero);
    max_pool_all(x.data<T>(), y.data<T>(), indices.data<std::int32_t>(), e, window);
  });
  return y;
}

Tensor CpuBackend::max_pool_backward(const Shape& x_shape, const Tensor& indices,
                                     const Tensor& dy) {
  const Extents e{x_shape[0], x_shape[1], x_shape[2], x_shape[3], dy.dim(1), dy.dim(2)};
  Tensor dx = Tensor::zeros(x_shape, dy.dtype(), dy.device());
  OpScope scope("max_pool_backward", static_cast<double>(dy.numel()),
                static_cast<double>(dx.nbytes() + dy.nbytes() + indices.nbytes()));
  dispatch_float(dy.dtype(), "max_pool_backward", [&](auto zero) {
    using T = decltype(zero);
    max_pool_backward_all(dy.data<T>(), indices.data<std::int32_t>(), dx.data<T>(), e);
  });
  return dx;
}

Tensor CpuBackend::average_pool(const Tensor& x, const Window& window, bool count_padding) {
  const Extents e = extents("average_pool", x.shape(), window);
  Tensor y = Tensor::empty({e.n, e.oh, e.ow, e.c}, x.dtype(), x.device());
  OpScope scope("average_pool", work(y, window), static_cast<double>(x.nbytes() + y.nbytes()));
  dispatch_float(x.dtype(), "average_pool", [&](auto zero) {
    using T = decltype(zero);
    average_pool_all(x.data<T>(), y.data<T>(), e, window, count_padding);
  });
  return y;
}

Tensor CpuBackend::average_pool_backward(const Shape& x_shape, const Tensor& dy,
                                         const Window& window, bool count_padding) {
  const Extents e = extents("average_pool_backward", x_shape, window);
  Tensor dx = Tensor::empty(x_shape, dy.dtype(), dy.device());
  OpScope scope("average_pool_backward", work(dy, window),
                static_cast<double>(dx.nbytes() + dy.nbytes()));
  dispatch_float(dy.dtype(), "average_pool_backward", [&](auto zero) {
    using T = decltype(zero);
    average_pool_backward_all(dy.data<T>(), dx.data<T>(), e, window, count_padding);
  });
  return dx;
}

}  // namespace nextgrad::cpu
