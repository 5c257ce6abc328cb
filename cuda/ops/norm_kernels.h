// Kernels of batch and group norm: norm.cu.
#pragma once

#include <cmath>

#include "cuda/kit/channel_statistics.h"

namespace nextgrad::cuda {

// The group, counted over all images, of a thread's channel i; `width` channels a group.
template <int N>
__device__ __forceinline__ std::int64_t group_of(const ChannelPlace<N>& place, const ChannelPlan& p,
                                                 int i, int width) {
  const std::int64_t k = place.image * p.c + place.channel + i;
  return width == 1 ? k : k / width;
}

template <class T, int N>
__global__ void moments(const T* x, ChannelPlan p, Compute<T>* partials) {
  const ChannelPlace<N> place(p);
  Compute<T> shift[N] = {};
  if (place.inside) load<N>(x + place.at(p, place.first), shift);
  Moments<Compute<T>, N> m(shift);
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N];
    load<N>(x + at, v);
    m.add(v);
  });
  m.leave(p, place, shared_memory<Compute<T>>(), partials);
}

// Combines partials of equal weight in double: of each the mean, less a shift, times n, and M2.
// Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983, eq. 2.1, with
// all means at once.
struct Combined {
  double sum, square;
  template <class C>
  __device__ __forceinline__ void add(double n, C mean, C m2, double shift) {
    const double d = static_cast<double>(mean) - shift;
    sum += n * d;
    square += n * d * d + static_cast<double>(m2);
  }
};
template <class C>
__device__ __forceinline__ void leave_statistics(double sum, double square, double shift, double n,
                                                 double eps, C* mean, C* rstd) {
  const double variance = (square - sum * sum / n) / n;
  *mean = static_cast<C>(shift + sum / n);
  *rstd = static_cast<C>(1.0 / sqrt((variance < 0 ? 0.0 : variance) + eps));
}

__device__ __forceinline__ double chunk_rows(const ChannelPlan& p, std::int64_t j) {
  const std::int64_t left = p.rows - j * p.chunk;
  return static_cast<double>(left < p.chunk ? left : p.chunk);
}

// A block of 32 channels x 16 rows of threads.
template <class C>
__global__ void finish_channels(const C* partials, ChannelPlan p, double eps, C* mean, C* rstd) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * 32 + threadIdx.x;
  const bool inside = channel < p.c;
  const double shift = inside ? static_cast<double>(partials[channel]) : 0.0;
  Combined all{0, 0};
  if (inside) {
#pragma unroll 4
    for (std::int64_t j = threadIdx.y; j < p.chunks; j += blockDim.y) {
      const C* of = partials + j * 2 * p.c + channel;
      all.add(chunk_rows(p, j), of[0], of[p.c], shift);
    }
  }
  double total[2] = {all.sum, all.square};
  combine_rows(total, shared_memory<double>());
  if (threadIdx.y != 0 || !inside) return;
  leave_statistics(total[0], total[1], shift, static_cast<double>(p.rows), eps, mean + channel,
                   rstd + channel);
}

// A block a group of an image: its chunks' channels in order.
template <class C>
__global__ void finish_groups(const C* partials, ChannelPlan p, int groups, double eps, C* mean,
                              C* rstd) {
  __shared__ double scratch[32];
  const std::int64_t image = blockIdx.x / groups, width = p.c / groups;
  const C* of = partials + image * p.chunks * 2 * p.c + (blockIdx.x - image * groups) * width;
  const double shift = static_cast<double>(of[0]);
  Combined all{0, 0};
  for (std::int64_t i = threadIdx.x; i < p.chunks * width; i += blockDim.x) {
    const std::int64_t j = i / width, k = i - j * width;
    all.add(chunk_rows(p, j), of[j * 2 * p.c + k], of[j * 2 * p.c + p.c + k], shift);
  }
  const double sum = block_reduce(all.sum, scratch), square = block_reduce(all.square, scratch);
  if (threadIdx.x != 0) return;
  leave_statistics(sum, square, shift, static_cast<double>(p.rows) * static_cast<double>(width),
                   eps, mean + blockIdx.x, rstd + blockIdx.x);
}

// y = (x - mean) (rstd gamma) + beta; mean and rstd are [images, groups], null: 0 and 1.
template <class T, int N>
__global__ void normalise(const T* x, ChannelPlan p, int width, const Compute<T>* mean,
                          const Compute<T>* rstd, const Compute<T>* gamma, const Compute<T>* beta,
                          T* y) {
  const ChannelPlace<N> place(p);
  Compute<T> m[N] = {}, a[N] = {}, b[N] = {};
  if (place.inside) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const std::int64_t k = place.channel + i, group = group_of(place, p, i, width);
      m[i] = mean != nullptr ? mean[group] : Compute<T>(0);
      a[i] = rstd != nullptr ? rstd[group] * gamma[k] : gamma[k];
      b[i] = beta[k];
    }
  }
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N];
    load<N>(x + at, v);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = (v[i] - m[i]) * a[i] + b[i];
    store<N>(y + at, v);
  });
}

// partials [images * chunks, 2, c]: the sums of dy and of dy (x - mean).
template <class T, int N>
__global__ void gradient_sums(const T* x, const T* dy, ChannelPlan p, int width,
                              const Compute<T>* mean, Compute<T>* partials) {
  const ChannelPlace<N> place(p);
  Compute<T> m[N] = {}, sum[2 * N] = {};
  if (place.inside) {
#pragma unroll
    for (int i = 0; i < N; ++i) m[i] = mean[group_of(place, p, i, width)];
  }
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N], d[N];
    load<N>(x + at, v);
    load<N>(dy + at, d);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum[i] += d[i];
      sum[N + i] += d[i] * (v[i] - m[i]);
    }
  });
  combine_rows(sum, shared_memory<Compute<T>>());
  if (threadIdx.y != 0 || !place.inside) return;
  Compute<T>* to = partials + static_cast<std::int64_t>(blockIdx.x) * 2 * p.c + place.channel;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    to[i] = sum[i];
    to[p.c + i] = sum[N + i];
  }
}

// The coefficients of dy, x - mean and 1 in dx, for channels of one rstd r; a and b: the sums over
// the group's m elements of gamma dy and gamma dy (x - mean).
template <class C>
__device__ __forceinline__ void leave_coefficients(double r, double a, double b, double m, C gamma,
                                                   std::int64_t c, C* to) {
  to[0] = static_cast<C>(r * static_cast<double>(gamma));
  to[c] = static_cast<C>(r * r * r * b / m);
  to[2 * c] = static_cast<C>(r * a / m);
}

// Batch norm: dgamma, dbeta and the coefficients [3, c]. A block as in finish_channels.
template <class C>
__global__ void finish_channel_gradients(const C* partials, ChannelPlan p, const C* gamma,
                                         const C* rstd, C* dgamma, C* dbeta, C* coefficients) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * 32 + threadIdx.x;
  double total[2];
  column_totals(partials, p.chunks, p.c, channel, shared_memory<double>(), total);
  if (threadIdx.y != 0 || channel >= p.c) return;
  const double r = static_cast<double>(rstd[channel]);
  dgamma[channel] = static_cast<C>(r * total[1]);
  dbeta[channel] = static_cast<C>(total[0]);
  const double g = static_cast<double>(gamma[channel]);
  leave_coefficients(r, g * total[0], g * total[1], static_cast<double>(p.rows), gamma[channel],
                     p.c, coefficients + channel);
}

// totals [images, 2, c] of the partials; blockIdx.y is the image.
template <class C>
__global__ void image_totals(const C* partials, ChannelPlan p, double* totals) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * 32 + threadIdx.x;
  for (std::int64_t image = blockIdx.y; image < p.images; image += gridDim.y) {
    double total[2];
    column_totals(partials + image * p.chunks * 2 * p.c, p.chunks, p.c, channel,
                  shared_memory<double>(), total);
    if (threadIdx.y != 0 || channel >= p.c) continue;
    totals[image * 2 * p.c + channel] = total[0];
    totals[image * 2 * p.c + p.c + channel] = total[1];
  }
}

// A block a group of an image: its coefficients [images, 3, c].
template <class C>
__global__ void group_coefficients(const double* totals, ChannelPlan p, int groups, const C* gamma,
                                   const C* rstd, C* coefficients) {
  __shared__ double scratch[32];
  const std::int64_t image = blockIdx.x / groups, width = p.c / groups;
  const std::int64_t begin = (blockIdx.x - image * groups) * width;
  const double* total = totals + image * 2 * p.c;
  double a = 0, b = 0;
  for (std::int64_t k = begin + threadIdx.x; k < begin + width; k += blockDim.x) {
    a += static_cast<double>(gamma[k]) * total[k];
    b += static_cast<double>(gamma[k]) * total[p.c + k];
  }
  a = block_reduce(a, scratch);
  b = block_reduce(b, scratch);
  const double r = static_cast<double>(rstd[blockIdx.x]);
  const double m = static_cast<double>(p.rows) * static_cast<double>(width);
  for (std::int64_t k = begin + threadIdx.x; k < begin + width; k += blockDim.x)
    leave_coefficients(r, a, b, m, gamma[k], p.c, coefficients + image * 3 * p.c + k);
}

// dgamma and dbeta [c] over all images, a thread a channel.
template <class C>
__global__ void group_parameters(const double* totals, ChannelPlan p, int groups, const C* rstd,
                                 C* dgamma, C* dbeta) {
  const std::int64_t k = global_index();
  if (k >= p.c) return;
  double dg = 0, db = 0;
  for (std::int64_t image = 0; image < p.images; ++image) {
    const std::int64_t group = image * groups + k / (p.c / groups);
    dg += static_cast<double>(rstd[group]) * totals[image * 2 * p.c + p.c + k];
    db += totals[image * 2 * p.c + k];
  }
  dgamma[k] = static_cast<C>(dg);
  dbeta[k] = static_cast<C>(db);
}

// dx = a dy - (x - mean) b - d, coefficients [images, 3, c].
template <class T, int N>
__global__ void input_gradient(const T* x, const T* dy, ChannelPlan p, int width,
                               const Compute<T>* mean, const Compute<T>* coefficients, T* dx) {
  const ChannelPlace<N> place(p);
  Compute<T> m[N] = {}, a[N] = {}, b[N] = {}, d[N] = {};
  if (place.inside) {
    const Compute<T>* of = coefficients + place.image * 3 * p.c + place.channel;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      m[i] = mean[group_of(place, p, i, width)];
      a[i] = of[i];
      b[i] = of[p.c + i];
      d[i] = of[2 * p.c + i];
    }
  }
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N], g[N];
    load<N>(x + at, v);
    load<N>(dy + at, g);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = a[i] * g[i] - (v[i] - m[i]) * b[i] - d[i];
    store<N>(dx + at, v);
  });
}

template <class C>
__global__ void update_channels(C* running_mean, C* running_var, const C* mean, const C* rstd,
                                std::int64_t c, double eps, double unbiased, double momentum,
                                std::int64_t* batches) {
  const std::int64_t k = global_index();
  if (k == 0 && batches != nullptr) ++*batches;
  if (k >= c) return;
  const double s = static_cast<double>(rstd[k]), variance = 1.0 / (s * s) - eps;
  const double old_mean = static_cast<double>(running_mean[k]);
  const double old_var = static_cast<double>(running_var[k]);
  running_mean[k] = static_cast<C>(old_mean + momentum * (static_cast<double>(mean[k]) - old_mean));
  running_var[k] =
      static_cast<C>(old_var + momentum * ((variance < 0 ? 0.0 : variance) * unbiased - old_var));
}

}  // namespace nextgrad::cuda
