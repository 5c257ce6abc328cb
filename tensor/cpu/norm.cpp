// Batch, group and layer norm. x is [images, rows, C]; rows are cut into chunks of a fixed number
// of elements (the tasks of the threads), channels into blocks. Sums run over 64 rows in T, then in
// double; chunks are combined in order. Batch norm is group norm of one image, a channel a group.
#include <cmath>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kRun = 64;       // rows summed in T
constexpr std::int64_t kBlock = 512;    // channels of a block: its sums stay in L1
constexpr std::int64_t kChunk = 65536;  // elements of a chunk

struct Extents {
  std::int64_t images, rows, c, groups;
  std::int64_t chunk_rows() const {
    return std::max(kRun, kChunk / std::max<std::int64_t>(1, c) / kRun * kRun);
  }
  std::int64_t chunks() const { return (rows + chunk_rows() - 1) / chunk_rows(); }
  double group_size() const { return static_cast<double>(rows) * static_cast<double>(c / groups); }
};

// Calls fn(task, image, first row, rows) for each chunk of each image, in parallel.
template <class Fn>
void for_chunks(const Extents& e, Fn&& fn) {
  const std::int64_t chunks = e.chunks(), chunk = e.chunk_rows();
  const std::int64_t grain =
      std::max<std::int64_t>(1, kChunk / 2 / std::max<std::int64_t>(1, e.rows * e.c));
  parallel_for(e.images * chunks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t first = t % chunks * chunk;
      fn(t, t / chunks, first, std::min(chunk, e.rows - first));
    }
  });
}

// Adds to sum and square (double [n]) the sums of x - shift and (x - shift)^2 over rows, where
// shift is the first row: the variance then does not cancel when the mean is large.
template <class T>
void moments_block(const T* x, std::int64_t rows, std::int64_t c, std::int64_t n, double* sum,
                   double* square) {
  T s[kBlock], q[kBlock];
  for (std::int64_t begin = 0; begin < rows; begin += kRun) {
    const std::int64_t end = std::min(rows, begin + kRun);
    std::fill_n(s, n, T(0));
    std::fill_n(q, n, T(0));
    std::int64_t r = begin;
    for (; r + 4 <= end; r += 4) {
      const T *x0 = x + r * c, *x1 = x0 + c, *x2 = x1 + c, *x3 = x2 + c;
#pragma omp simd
      for (std::int64_t k = 0; k < n; ++k) {
        const T d0 = x0[k] - x[k], d1 = x1[k] - x[k], d2 = x2[k] - x[k], d3 = x3[k] - x[k];
        s[k] += (d0 + d1) + (d2 + d3);
        q[k] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
      }
    }
    for (; r < end; ++r) {
#pragma omp simd
      for (std::int64_t k = 0; k < n; ++k) {
        const T d = x[r * c + k] - x[k];
        s[k] += d;
        q[k] += d * d;
      }
    }
    for (std::int64_t k = 0; k < n; ++k) {
      sum[k] += static_cast<double>(s[k]);
      square[k] += static_cast<double>(q[k]);
    }
  }
}

// Adds to s1 and s2 (double [n]) the sums of dy and dy (x - mean) over rows.
template <class T>
void gradient_block(const T* x, const T* dy, const T* mean, std::int64_t rows, std::int64_t c,
                    std::int64_t n, double* s1, double* s2) {
  T a[kBlock], b[kBlock];
  for (std::int64_t begin = 0; begin < rows; begin += kRun) {
    const std::int64_t end = std::min(rows, begin + kRun);
    std::fill_n(a, n, T(0));
    std::fill_n(b, n, T(0));
    std::int64_t r = begin;
    for (; r + 2 <= end; r += 2) {
      const T *x0 = x + r * c, *x1 = x0 + c, *d0 = dy + r * c, *d1 = d0 + c;
#pragma omp simd
      for (std::int64_t k = 0; k < n; ++k) {
        a[k] += d0[k] + d1[k];
        b[k] += d0[k] * (x0[k] - mean[k]) + d1[k] * (x1[k] - mean[k]);
      }
    }
    for (; r < end; ++r) {
#pragma omp simd
      for (std::int64_t k = 0; k < n; ++k) {
        a[k] += dy[r * c + k];
        b[k] += dy[r * c + k] * (x[r * c + k] - mean[k]);
      }
    }
    for (std::int64_t k = 0; k < n; ++k) {
      s1[k] += static_cast<double>(a[k]);
      s2[k] += static_cast<double>(b[k]);
    }
  }
}

struct Moments {  // count, mean and sum of squared deviations
  double n = 0, mean = 0, m2 = 0;
  // Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983, eq. 2.1.
  void add(double other_n, double other_mean, double other_m2) {
    const double total = n + other_n, delta = other_mean - mean;
    mean += delta * other_n / total;
    m2 += other_m2 + delta * delta * n * other_n / total;
    n = total;
  }
};

// mean and rstd [images, groups] of x.
template <class T>
void statistics(const T* x, const Extents& e, double eps, T* mean, T* rstd) {
  const std::int64_t c = e.c, chunks = e.chunks(), chunk = e.chunk_rows();
  std::vector<double> sums(static_cast<std::size_t>(e.images * chunks * 2 * c));
  for_chunks(e, [&](std::int64_t t, std::int64_t image, std::int64_t first, std::int64_t rows) {
    const T* from = x + (image * e.rows + first) * c;
    double* to = sums.data() + t * 2 * c;
    for (std::int64_t k = 0; k < c; k += kBlock) {
      moments_block(from + k, rows, c, std::min(kBlock, c - k), to + k, to + c + k);
    }
  });
  const std::int64_t width = c / e.groups;
  for (std::int64_t g = 0; g < e.images * e.groups; ++g) {
    const std::int64_t image = g / e.groups, begin = g % e.groups * width;
    Moments m;
    for (std::int64_t j = 0; j < chunks; ++j) {
      const T* shift = x + (image * e.rows + j * chunk) * c;
      const double* s = sums.data() + (image * chunks + j) * 2 * c;
      const auto n = static_cast<double>(std::min(chunk, e.rows - j * chunk));
      for (std::int64_t k = begin; k < begin + width; ++k) {
        m.add(n, static_cast<double>(shift[k]) + s[k] / n, s[c + k] - s[k] * s[k] / n);
      }
    }
    mean[g] = static_cast<T>(m.mean);
    rstd[g] = static_cast<T>(1.0 / std::sqrt(m.m2 / m.n + eps));
  }
}

// y = (x - mean) scale + shift, coefficients per channel.
template <class T>
void normalise_rows(const T* x, T* y, std::int64_t rows, std::int64_t c, const T* mean,
                    const T* scale, const T* shift) {
  for (std::int64_t r = 0; r < rows; ++r, x += c, y += c) {
#pragma omp simd
    for (std::int64_t k = 0; k < c; ++k) y[k] = (x[k] - mean[k]) * scale[k] + shift[k];
  }
}

// dx = a dy - (x - mean) b - c, the coefficients a, b, c per channel one after the other in `of`.
template <class T>
void gradient_rows(const T* x, const T* dy, const T* mean, const T* of, std::int64_t rows,
                   std::int64_t c, T* dx) {
  for (std::int64_t r = 0; r < rows; ++r, x += c, dy += c, dx += c) {
#pragma omp simd
    for (std::int64_t k = 0; k < c; ++k) {
      dx[k] = of[k] * dy[k] - (x[k] - mean[k]) * of[c + k] - of[2 * c + k];
    }
  }
}

// y = x scale + shift per channel.
template <class T>
void affine_rows(const T* x, T* y, std::int64_t rows, std::int64_t c, const T* scale,
                 const T* shift) {
  for (std::int64_t r = 0; r < rows; ++r, x += c, y += c) {
#pragma omp simd
    for (std::int64_t k = 0; k < c; ++k) y[k] = x[k] * scale[k] + shift[k];
  }
}

template <class T>
void norm_forward(const T* x, const T* gamma, const T* beta, const Extents& e, double eps, T* y,
                  T* mean, T* rstd) {
  statistics(x, e, eps, mean, rstd);
  const std::int64_t width = e.c / e.groups;
  std::vector<T> coefficients(static_cast<std::size_t>(e.images * 2 * e.c));
  for (std::int64_t i = 0; i < e.images * e.c; ++i) {
    const std::int64_t image = i / e.c, k = i % e.c, g = image * e.groups + k / width;
    T* at = coefficients.data() + image * 2 * e.c + k;
    at[0] = mean[g];
    at[e.c] = rstd[g] * gamma[k];
  }
  for_chunks(e, [&](std::int64_t, std::int64_t image, std::int64_t first, std::int64_t rows) {
    const std::int64_t at = (image * e.rows + first) * e.c;
    const T* coefficient = coefficients.data() + image * 2 * e.c;
    normalise_rows(x + at, y + at, rows, e.c, coefficient, coefficient + e.c, beta);
  });
}

// dx = rstd (gamma dy - A/m - (x - mean) rstd^2 B/m), A and B the sums over a group of m elements
// of gamma dy and gamma dy (x - mean); dgamma = sum of dy (x - mean) rstd, dbeta = sum of dy.
template <class T>
void norm_backward(const T* x, const T* gamma, const T* mean, const T* rstd, const T* dy,
                   const Extents& e, T* dx, T* dgamma, T* dbeta) {
  const std::int64_t c = e.c, chunks = e.chunks(), width = c / e.groups;
  std::vector<T> means(static_cast<std::size_t>(e.images * c));
  for (std::int64_t image = 0; image < e.images; ++image) {
    for (std::int64_t k = 0; k < c; ++k) {
      means[static_cast<std::size_t>(image * c + k)] = mean[image * e.groups + k / width];
    }
  }
  std::vector<double> sums(static_cast<std::size_t>(e.images * chunks * 2 * c));
  for_chunks(e, [&](std::int64_t t, std::int64_t image, std::int64_t first, std::int64_t rows) {
    const std::int64_t at = (image * e.rows + first) * c;
    double* to = sums.data() + t * 2 * c;
    for (std::int64_t k = 0; k < c; k += kBlock) {
      gradient_block(x + at + k, dy + at + k, means.data() + image * c + k, rows, c,
                     std::min(kBlock, c - k), to + k, to + c + k);
    }
  });
  std::vector<double> dg(static_cast<std::size_t>(c)), db(static_cast<std::size_t>(c));
  std::vector<T> coefficients(static_cast<std::size_t>(e.images * 3 * c));  // of dy, x - mean, 1
  for (std::int64_t image = 0; image < e.images; ++image) {
    double* total = sums.data() + image * chunks * 2 * c;
    for (std::int64_t j = 1; j < chunks; ++j) {
      for (std::int64_t k = 0; k < 2 * c; ++k) total[k] += total[j * 2 * c + k];
    }
    T* of = coefficients.data() + image * 3 * c;
    for (std::int64_t g = 0; g < e.groups; ++g) {
      const double r = static_cast<double>(rstd[image * e.groups + g]);
      double a = 0, b = 0;
      for (std::int64_t k = g * width; k < (g + 1) * width; ++k) {
        a += static_cast<double>(gamma[k]) * total[k];
        b += static_cast<double>(gamma[k]) * total[c + k];
      }
      for (std::int64_t k = g * width; k < (g + 1) * width; ++k) {
        of[k] = static_cast<T>(r * static_cast<double>(gamma[k]));
        of[c + k] = static_cast<T>(r * r * r * b / e.group_size());
        of[2 * c + k] = static_cast<T>(r * a / e.group_size());
        dg[static_cast<std::size_t>(k)] += r * total[c + k];
        db[static_cast<std::size_t>(k)] += total[k];
      }
    }
  }
  for (std::int64_t k = 0; k < c; ++k) {
    dgamma[k] = static_cast<T>(dg[static_cast<std::size_t>(k)]);
    dbeta[k] = static_cast<T>(db[static_cast<std::size_t>(k)]);
  }
  for_chunks(e, [&](std::int64_t, std::int64_t image, std::int64_t first, std::int64_t rows) {
    const std::int64_t at = (image * e.rows + first) * c;
    gradient_rows(x + at, dy + at, means.data() + image * c, coefficients.data() + image * 3 * c,
                  rows, c, dx + at);
  });
}

template <class T>
void layer_norm_row(const T* x, const T* gamma, const T* beta, std::int64_t c, double eps, T* y,
                    T* mean, T* rstd) {
  const T shift = x[0];
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t k = 0; k < c; ++k) sum += x[k] - shift;
  const T m = shift + sum / static_cast<T>(c);
  T square = 0;
#pragma omp simd reduction(+ : square)
  for (std::int64_t k = 0; k < c; ++k) square += (x[k] - m) * (x[k] - m);
  const T r = T(1) / std::sqrt(square / static_cast<T>(c) + static_cast<T>(eps));
#pragma omp simd
  for (std::int64_t k = 0; k < c; ++k) y[k] = (x[k] - m) * r * gamma[k] + beta[k];
  *mean = m;
  *rstd = r;
}

// One row of the layer norm's backward; adds to the running sums dgamma and dbeta.
template <class T>
void layer_norm_backward_row(const T* x, const T* gamma, T mean, T rstd, const T* dy,
                             std::int64_t c, T* dx, T* dgamma, T* dbeta) {
  T a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
  for (std::int64_t k = 0; k < c; ++k) {
    const T g = dy[k] * gamma[k];
    a += g;
    b += g * ((x[k] - mean) * rstd);
  }
  a /= static_cast<T>(c);
  b /= static_cast<T>(c);
#pragma omp simd
  for (std::int64_t k = 0; k < c; ++k) {
    const T hat = (x[k] - mean) * rstd;
    dx[k] = rstd * (dy[k] * gamma[k] - a - hat * b);
    dgamma[k] += dy[k] * hat;
    dbeta[k] += dy[k];
  }
}

template <class T>
void layer_norm_backward_all(const T* x, const T* gamma, const T* mean, const T* rstd, const T* dy,
                             const Extents& e, T* dx, T* dgamma, T* dbeta) {
  const std::int64_t c = e.c;
  std::vector<double> sums(static_cast<std::size_t>(e.chunks() * 2 * c));
  for_chunks(e, [&](std::int64_t t, std::int64_t, std::int64_t first, std::int64_t rows) {
    std::vector<T> run(static_cast<std::size_t>(2 * c));
    double* to = sums.data() + t * 2 * c;
    for (std::int64_t begin = first; begin < first + rows; begin += kRun) {
      std::fill(run.begin(), run.end(), T(0));
      for (std::int64_t r = begin; r < std::min(begin + kRun, first + rows); ++r) {
        layer_norm_backward_row(x + r * c, gamma, mean[r], rstd[r], dy + r * c, c, dx + r * c,
                                run.data(), run.data() + c);
      }
      for (std::int64_t k = 0; k < 2 * c; ++k) {
        to[k] += static_cast<double>(run[static_cast<std::size_t>(k)]);
      }
    }
  });
  for (std::int64_t k = 0; k < c; ++k) {
    double dg = 0, db = 0;
    for (std::int64_t j = 0; j < e.chunks(); ++j) {
      dg += sums[static_cast<std::size_t>(j * 2 * c + k)];
      db += sums[static_cast<std::size_t>(j * 2 * c + c + k)];
    }
    dgamma[k] = static_cast<T>(dg);
    dbeta[k] = static_cast<T>(db);
  }
}

Extents batch_extents(const Tensor& x) {
  const std::int64_t c = x.dim(-1);
  return {1, c == 0 ? 0 : x.numel() / c, c, c};
}

Extents group_extents(const Tensor& x, int groups) {
  const std::int64_t images = x.dim(0), c = x.dim(-1);
  check(groups > 0 && c % groups == 0, "group_norm: {} channels in {} groups", c, groups);
  return {images, images * c == 0 ? 0 : x.numel() / (images * c), c, groups};
}

NormResult group_like(const char* name, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                      double eps, const Extents& e, const Shape& statistics_shape) {
  OpScope scope(name, 7.0 * static_cast<double>(x.numel()), 3.0 * static_cast<double>(x.nbytes()));
  check(x.numel() > 0, "{}: the input {} is empty", name, x.shape().str());
  NormResult r{Tensor::empty(x.shape(), x.dtype(), x.device()),
               Tensor::empty(statistics_shape, x.dtype(), x.device()),
               Tensor::empty(statistics_shape, x.dtype(), x.device())};
  dispatch_float(x.dtype(), name, [&](auto zero) {
    using T = decltype(zero);
    norm_forward(x.data<T>(), gamma.data<T>(), beta.data<T>(), e, eps, r.y.data<T>(),
                 r.mean.data<T>(), r.rstd.data<T>());
  });
  return r;
}

NormGradients gradients_like(const Tensor& x, const Tensor& gamma) {
  return {Tensor::empty(x.shape(), x.dtype(), x.device()),
          Tensor::empty(gamma.shape(), x.dtype(), x.device()),
          Tensor::empty(gamma.shape(), x.dtype(), x.device())};
}

NormGradients group_like_backward(const char* name, const Tensor& x, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& dy,
                                  const Extents& e) {
  OpScope scope(name, 9.0 * static_cast<double>(x.numel()), 5.0 * static_cast<double>(x.nbytes()));
  NormGradients g = gradients_like(x, gamma);
  dispatch_float(x.dtype(), name, [&](auto zero) {
    using T = decltype(zero);
    norm_backward(x.data<T>(), gamma.data<T>(), mean.data<T>(), rstd.data<T>(), dy.data<T>(), e,
                  g.dx.data<T>(), g.dgamma.data<T>(), g.dbeta.data<T>());
  });
  return g;
}

}  // namespace

NormResult CpuBackend::batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                  double eps) {
  return group_like("batch_norm", x, gamma, beta, eps, batch_extents(x), {x.dim(-1)});
}

NormGradients CpuBackend::batch_norm_backward(const Tensor& x, const Tensor& gamma,
                                              const Tensor& mean, const Tensor& rstd,
                                              const Tensor& dy) {
  return group_like_backward("batch_norm_backward", x, gamma, mean, rstd, dy, batch_extents(x));
}

void CpuBackend::update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                                const Tensor& rstd, double eps, std::int64_t rows,
                                double momentum) {
  const double unbiased =
      rows > 1 ? static_cast<double>(rows) / static_cast<double>(rows - 1) : 1.0;
  dispatch_float(running_mean.dtype(), "update_running", [&](auto zero) {
    using T = decltype(zero);
    const T *m = mean.data<T>(), *r = rstd.data<T>();
    T *rm = running_mean.data<T>(), *rv = running_var.data<T>();
    for (std::int64_t k = 0; k < running_mean.numel(); ++k) {
      const double s = static_cast<double>(r[k]);
      const double variance = std::max(0.0, 1.0 / (s * s) - eps) * unbiased;
      const double old_mean = static_cast<double>(rm[k]), old_var = static_cast<double>(rv[k]);
      rm[k] = static_cast<T>(old_mean + momentum * (static_cast<double>(m[k]) - old_mean));
      rv[k] = static_cast<T>(old_var + momentum * (variance - old_var));
    }
  });
  running_mean.bump_version();
  running_var.bump_version();
}

Tensor CpuBackend::channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift) {
  OpScope scope("channel_affine", 2.0 * static_cast<double>(x.numel()),
                2.0 * static_cast<double>(x.nbytes()));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Extents e = batch_extents(x);
  dispatch_float(x.dtype(), "channel_affine", [&](auto zero) {
    using T = decltype(zero);
    const T *px = x.data<T>(), *a = scale.data<T>(), *b = shift.data<T>();
    T* py = y.data<T>();
    for_chunks(e, [&](std::int64_t, std::int64_t, std::int64_t first, std::int64_t rows) {
      affine_rows(px + first * e.c, py + first * e.c, rows, e.c, a, b);
    });
  });
  return y;
}

NormResult CpuBackend::layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                  double eps) {
  OpScope scope("layer_norm", 8.0 * static_cast<double>(x.numel()),
                2.0 * static_cast<double>(x.nbytes()));
  Shape rows_shape;
  for (int a = 0; a + 1 < x.ndim(); ++a) rows_shape.push_back(x.shape()[a]);
  const Extents e = batch_extents(x);
  NormResult result{Tensor::empty(x.shape(), x.dtype(), x.device()),
                    Tensor::empty(rows_shape, x.dtype(), x.device()),
                    Tensor::empty(rows_shape, x.dtype(), x.device())};
  dispatch_float(x.dtype(), "layer_norm", [&](auto zero) {
    using T = decltype(zero);
    const T *px = x.data<T>(), *pg = gamma.data<T>(), *pb = beta.data<T>();
    T *py = result.y.data<T>(), *pm = result.mean.data<T>(), *pr = result.rstd.data<T>();
    for_chunks(e, [&](std::int64_t, std::int64_t, std::int64_t first, std::int64_t rows) {
      for (std::int64_t r = first; r < first + rows; ++r) {
        layer_norm_row(px + r * e.c, pg, pb, e.c, eps, py + r * e.c, pm + r, pr + r);
      }
    });
  });
  return result;
}

NormGradients CpuBackend::layer_norm_backward(const Tensor& x, const Tensor& gamma,
                                              const Tensor& mean, const Tensor& rstd,
                                              const Tensor& dy) {
  OpScope scope("layer_norm_backward", 14.0 * static_cast<double>(x.numel()),
                3.0 * static_cast<double>(x.nbytes()));
  NormGradients g = gradients_like(x, gamma);
  dispatch_float(x.dtype(), "layer_norm_backward", [&](auto zero) {
    using T = decltype(zero);
    layer_norm_backward_all(x.data<T>(), gamma.data<T>(), mean.data<T>(), rstd.data<T>(),
                            dy.data<T>(), batch_extents(x), g.dx.data<T>(), g.dgamma.data<T>(),
                            g.dbeta.data<T>());
  });
  return g;
}

NormResult CpuBackend::group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                  int groups, double eps) {
  return group_like("group_norm", x, gamma, beta, eps, group_extents(x, groups),
                    {x.dim(0), groups});
}

NormGradients CpuBackend::group_norm_backward(const Tensor& x, const Tensor& gamma,
                                              const Tensor& mean, const Tensor& rstd,
                                              const Tensor& dy, int groups) {
  return group_like_backward("group_norm_backward", x, gamma, mean, rstd, dy,
                             group_extents(x, groups));
}

}  // namespace nextgrad::cpu
