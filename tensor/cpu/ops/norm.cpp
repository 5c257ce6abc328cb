// Batch and group norm, in chunks (chunks.h) and blocks of channels. Batch norm is group norm of
// one image, a channel a group. One parallel region a call: a thread sums its chunks, then combines
// its share of the groups, then writes its chunks from the last to the first, since the last are
// still in its cache. Bound: memory; x is read twice and y written (backward: x and dy twice, dx
// written).
#include <cmath>
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/chunks.h"
#include "tensor/cpu/kit/lanes.h"
#include "tensor/cpu/kit/parallel.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kBlock = 512;  // channels of a block: its sums stay in L1

using Chunks = Chunked<NormExtents>;
constexpr std::int64_t kRowsInT = Chunks::kRowsInT;

// Adds two quantities up over `kRows` rows of n channels: add(r, k, a, b) adds those of row r at
// the channels from k on to a and b, vectors or numbers.
template <int kRows, class T, class Add>
inline void add_rows(std::int64_t first, std::int64_t n, T* a, T* b, Add&& add) {
  for_lanes<T>(n, [&](std::int64_t k, auto zero) {
    using V = decltype(zero);
    V s[2] = {get<V>(a + k), V{}}, t[2] = {get<V>(b + k), V{}};
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) add(first + r, k, s[r % 2], t[r % 2]);
    put<V>(a + k, s[0] + s[1]);
    put<V>(b + k, t[0] + t[1]);
  });
}

// The same over any number of rows, `AtOnce` at a time; what is added up goes to double every
// kRowsInT rows.
template <int AtOnce, class T, class Add>
void sum_rows(std::int64_t rows, std::int64_t n, double* first, double* second, Add&& add) {
  T a[kBlock], b[kBlock];
  std::fill_n(first, n, 0.0);
  std::fill_n(second, n, 0.0);
  for (std::int64_t begin = 0; begin < rows; begin += kRowsInT) {
    std::fill_n(a, n, T(0));
    std::fill_n(b, n, T(0));
    for_row_groups<AtOnce>(begin, std::min(rows, begin + kRowsInT),
                           [&](auto r, auto count) { add_rows<count()>(r, n, a, b, add); });
    add_to(first, a, n);
    add_to(second, b, n);
  }
}

// The sums of x - shift and (x - shift)^2, where shift is the first row: the variance then does not
// cancel when the mean is large.
template <class T>
void moments_block(const T* x, std::int64_t rows, std::int64_t c, std::int64_t n, double* sum,
                   double* square) {
  sum_rows<8, T>(rows, n, sum, square, [=](std::int64_t r, std::int64_t k, auto& s, auto& q) {
    using V = std::remove_reference_t<decltype(s)>;
    const V d = get<V>(x + r * c + k) - get<V>(x + k);
    s += d;
    q += d * d;
  });
}

// The sums of dy and dy (x - mean).
template <class T>
void gradient_block(const T* x, const T* dy, const T* mean, std::int64_t rows, std::int64_t c,
                    std::int64_t n, double* s1, double* s2) {
  sum_rows<4, T>(rows, n, s1, s2, [=](std::int64_t r, std::int64_t k, auto& s, auto& t) {
    using V = std::remove_reference_t<decltype(s)>;
    const V d = get<V>(dy + r * c + k);
    s += d;
    t += d * (get<V>(x + r * c + k) - get<V>(mean + k));
  });
}

// sum(chunk, k, n, first, second) for the chunks' blocks of n channels, into sums [tasks, 2, C];
// then finish(g) for g < groups; then write(chunk).
template <class Sum, class Finish, class Write>
void in_three_phases(const Chunks& e, std::int64_t groups, std::vector<double>& sums, Sum&& sum,
                     Finish&& finish, Write&& write) {
  parallel_each(e.tasks(), e.grain(), [&](std::int64_t t) {
    for (std::int64_t k = 0; k < e.c; k += kBlock) {
      double* to = sums.data() + t * 2 * e.c + k;
      sum(e.chunk(t), k, std::min(kBlock, e.c - k), to, to + e.c);
    }
  });
  parallel_each(groups, std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, e.chunks())),
                finish);
  parallel_each(e.tasks(), e.grain(), [&](std::int64_t t) { write(e.chunk(t)); });
}

// Adds up the sums of channel k over an image's chunks [chunks, 2, C], into those of the first.
void add_chunks(const Chunks& e, std::int64_t k, double* sums) {
  for (std::int64_t j = 1; j < e.chunks(); ++j) {
    sums[k] += sums[j * 2 * e.c + k];
    sums[e.c + k] += sums[j * 2 * e.c + e.c + k];
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

// Of group g of an image: mean and rstd from its chunks' sums [chunks, 2, C], and the coefficients
// [2, C] of its channels, mean and rstd gamma.
template <class T>
void finish_group(const T* x, const double* sums, const T* gamma, const Chunks& e, double eps,
                  std::int64_t g, T* mean, T* rstd, T* coefficients) {
  const std::int64_t width = e.c / e.groups, begin = g * width, chunk = e.chunk_rows();
  Moments m;
  for (std::int64_t j = 0; j < e.chunks(); ++j) {
    const T* shift = x + j * chunk * e.c;
    const double* s = sums + j * 2 * e.c;
    const auto n = static_cast<double>(std::min(chunk, e.rows - j * chunk));
    for (std::int64_t k = begin; k < begin + width; ++k) {
      m.add(n, shift[k] + s[k] / n, s[e.c + k] - s[k] * s[k] / n);
    }
  }
  *mean = static_cast<T>(m.mean);
  *rstd = static_cast<T>(1.0 / std::sqrt(m.m2 / m.n + eps));
  for (std::int64_t k = begin; k < begin + width; ++k) {
    coefficients[k] = *mean;
    coefficients[e.c + k] = *rstd * gamma[k];
  }
}

constexpr int kTogether = 4;  // rows that share the loads of their coefficients

// y = (x - mean) scale + shift, coefficients per channel.
template <class T>
void normalise_rows(const T* x, T* y, std::int64_t rows, std::int64_t c, const T* mean,
                    const T* scale, const T* shift) {
  for_row_groups<kTogether>(0, rows, [&](std::int64_t first, auto together) {
    for_lanes<T>(c, [&](std::int64_t k, auto zero) {
      using V = decltype(zero);
      const V m = get<V>(mean + k), a = get<V>(scale + k), b = get<V>(shift + k);
      for (int r = 0; r < together; ++r) {
        const std::int64_t at = (first + r) * c + k;
        put<V>(y + at, (get<V>(x + at) - m) * a + b);
      }
    });
  });
}

// dx = a dy - b (x - mean) - d, the coefficients a, b, d per channel one after the other in `of`.
template <class T>
void gradient_rows(const T* x, const T* dy, const T* mean, const T* of, std::int64_t rows,
                   std::int64_t c, T* dx) {
  for_row_groups<kTogether>(0, rows, [&](std::int64_t first, auto together) {
    for_lanes<T>(c, [&](std::int64_t k, auto zero) {
      using V = decltype(zero);
      const V m = get<V>(mean + k), a = get<V>(of + k), b = get<V>(of + c + k);
      const V d = get<V>(of + 2 * c + k);
      for (int r = 0; r < together; ++r) {
        const std::int64_t at = (first + r) * c + k;
        put<V>(dx + at, a * get<V>(dy + at) - (get<V>(x + at) - m) * b - d);
      }
    });
  });
}

template <class T>
void norm_forward(const T* x, const T* gamma, const T* beta, const Chunks& e, double eps, T* y,
                  T* mean, T* rstd) {
  const std::int64_t c = e.c;
  std::vector<double> sums(e.tasks() * 2 * c);
  std::vector<T> coefficients(e.images * 2 * c);
  const auto sum = [&](const Chunk& chunk, std::int64_t k, std::int64_t n, double* s, double* q) {
    moments_block(x + chunk.at + k, chunk.rows, c, n, s, q);
  };
  const auto finish = [&](std::int64_t g) {
    const std::int64_t image = g / e.groups;
    finish_group(x + image * e.rows * c, sums.data() + image * e.chunks() * 2 * c, gamma, e, eps,
                 g % e.groups, mean + g, rstd + g, coefficients.data() + image * 2 * c);
  };
  in_three_phases(e, e.images * e.groups, sums, sum, finish, [&](const Chunk& chunk) {
    const T* of = coefficients.data() + chunk.image * 2 * c;
    normalise_rows(x + chunk.at, y + chunk.at, chunk.rows, c, of, of + c, beta);
  });
}

// What the backward of one call works with; vectors per image and channel.
template <class T>
struct Backward {
  std::vector<T> means, coefficients;  // [images, C]; [images, 3, C]: of dy, of x - mean, and 1
  std::vector<double> sums;            // [images, chunks, 2, C]
  Backward(const Chunks& e, const T* mean)
      : means(e.images * e.c), coefficients(3 * means.size()), sums(e.tasks() * 2 * e.c) {
    const std::int64_t width = e.c / e.groups;
    for (std::int64_t i = 0; i < e.images * e.c; ++i) {
      means[i] = mean[i / e.c * e.groups + i % e.c / width];
    }
  }
};

// Of group g, over all images: the coefficients, dgamma and dbeta of its channels.
template <class T>
void finish_group_gradient(const T* gamma, const T* rstd, const Chunks& e, std::int64_t g,
                           Backward<T>& w, T* dgamma, T* dbeta) {
  const std::int64_t c = e.c, begin = g * (c / e.groups), end = begin + c / e.groups;
  for (std::int64_t image = 0; image < e.images; ++image) {
    double* total = w.sums.data() + image * e.chunks() * 2 * c;
    T* of = w.coefficients.data() + image * 3 * c;
    const double r = rstd[image * e.groups + g];
    double sum_h = 0, sum_hx = 0;  // A and B of tensor/fused.cpp
    for (std::int64_t k = begin; k < end; ++k) {
      add_chunks(e, k, total);
      sum_h += gamma[k] * total[k];
      sum_hx += gamma[k] * total[c + k];
    }
    for (std::int64_t k = begin; k < end; ++k) {
      of[k] = static_cast<T>(r * gamma[k]);
      of[c + k] = static_cast<T>(r * r * r * sum_hx / e.group_size());
      of[2 * c + k] = static_cast<T>(r * sum_h / e.group_size());
    }
  }
  for (std::int64_t k = begin; k < end; ++k) {
    double dg = 0, db = 0;
    for (std::int64_t image = 0; image < e.images; ++image) {
      const double* total = w.sums.data() + image * e.chunks() * 2 * c;
      dg += rstd[image * e.groups + g] * total[c + k];
      db += total[k];
    }
    dgamma[k] = static_cast<T>(dg);
    dbeta[k] = static_cast<T>(db);
  }
}

// Two passes; tensor/fused.cpp says how the coefficients come about.
template <class T>
void norm_backward(const T* x, const T* gamma, const T* mean, const T* rstd, const T* dy,
                   const Chunks& e, T* dx, T* dgamma, T* dbeta) {
  const std::int64_t c = e.c;
  Backward<T> w(e, mean);
  const auto sum = [&](const Chunk& chunk, std::int64_t k, std::int64_t n, double* a, double* b) {
    gradient_block(x + chunk.at + k, dy + chunk.at + k, w.means.data() + chunk.image * c + k,
                   chunk.rows, c, n, a, b);
  };
  const auto finish = [&](std::int64_t g) {
    finish_group_gradient(gamma, rstd, e, g, w, dgamma, dbeta);
  };
  in_three_phases(e, e.groups, w.sums, sum, finish, [&](const Chunk& chunk) {
    gradient_rows(x + chunk.at, dy + chunk.at, w.means.data() + chunk.image * c,
                  w.coefficients.data() + chunk.image * 3 * c, chunk.rows, c, dx + chunk.at);
  });
}

// Two sums of each channel, [2, C]: `sum` as of in_three_phases().
template <class Sum>
Tensor channel_sums(const Chunks& e, Sum&& sum) {
  if (e.rows == 0) return Tensor::zeros({2, e.c}, DType::f64);
  std::vector<double> sums(e.tasks() * 2 * e.c);
  const auto finish = [&](std::int64_t k) { add_chunks(e, k, sums.data()); };
  in_three_phases(e, e.c, sums, sum, finish, [](const Chunk&) {});
  return Tensor::from(std::span<const double>(sums.data(), 2 * e.c), {2, e.c});
}

// Turns n channels' sums of x - shift and its square over so many rows, into those of x - centre,
// null: of x.
template <class T>
void about_centre(const T* shift, const T* centre, std::int64_t rows, std::int64_t n, double* sum,
                  double* square) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(shift[i]) - (centre != nullptr ? centre[i] : T(0));
    square[i] += d * (2 * sum[i] + rows * d);
    sum[i] += rows * d;
  }
}

NormResult group_like(const Work& work, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                      double eps, const Chunks& e, const Shape& statistics_shape) {
  OpScope scope(work);
  check(x.numel() > 0, "{}: the input {} is empty", work.name, x.shape());
  NormResult r = empty_norm(x, statistics_shape);
  dispatch_float(x.dtype(), work.name, [&]<class T>(T) {
    norm_forward(x.data<T>(), gamma.data<T>(), beta.data<T>(), e, eps, r.y.data<T>(),
                 r.mean.data<T>(), r.rstd.data<T>());
  });
  return r;
}

NormGradients group_like_backward(const Work& work, const Tensor& x, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& dy,
                                  const Chunks& e, const Tensor& onto = {}) {
  OpScope scope(work);
  NormGradients g = empty_norm_gradients(x, gamma);
  dispatch_float(x.dtype(), work.name, [&]<class T>(T) {
    norm_backward(x.data<T>(), gamma.data<T>(), mean.data<T>(), rstd.data<T>(), dy.data<T>(), e,
                  g.dx.data<T>(), g.dgamma.data<T>(), g.dbeta.data<T>());
  });
  if (onto.defined()) g.dx.add_(onto);
  return g;
}

}  // namespace

NormResult CpuBackend::batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                  double eps, const Tensor&, const RunningStatistics* running) {
  const Work work = costs::batch_norm(x, {});
  OpScope scope(work);  // with what moves
  const NormResult r = group_like(work, x, gamma, beta, eps, {batch_extents(x)}, {x.dim(-1)});
  if (running != nullptr) update_running(*running, r.mean, r.rstd, eps, batch_extents(x).rows);
  return r;
}

NormGradients CpuBackend::batch_norm_backward(const Tensor& x, const Tensor& gamma,
                                              const Tensor& mean, const Tensor& rstd,
                                              const Tensor& dy, const Tensor& onto) {
  return group_like_backward(costs::batch_norm_backward(x, onto), x, gamma, mean, rstd, dy,
                             {batch_extents(x)}, onto);
}

Tensor CpuBackend::channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift,
                                  const Tensor& centre, const Tensor& rstd) {
  OpScope scope(costs::channel_affine(x));
  const Tensor factor = rstd.defined() ? binary(Binary::mul, rstd, scale) : scale;
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Chunks e{batch_extents(x)};
  dispatch_float(x.dtype(), "channel_affine", [&]<class T>(T) {
    const std::vector<T> zeros(e.c);
    const T *px = x.data<T>(), *a = factor.data<T>(), *b = shift.data<T>();
    const T* mean = centre.defined() ? centre.data<T>() : zeros.data();
    T* py = y.data<T>();
    for_chunks(e, [&](std::int64_t, const Chunk& chunk) {
      normalise_rows(px + chunk.at, py + chunk.at, chunk.rows, e.c, mean, a, b);
    });
  });
  return y;
}

Tensor CpuBackend::channel_moments(const Tensor& x, const Tensor& centre) {
  OpScope scope(costs::channel_moments(x));
  const Chunks e{batch_extents(x)};
  Tensor sums;
  dispatch_float(x.dtype(), "channel_moments", [&]<class T>(T) {
    const T *px = x.data<T>(), *about = centre.defined() ? centre.data<T>() : nullptr;
    sums = channel_sums(
        e, [=](const Chunk& chunk, std::int64_t k, std::int64_t n, double* s, double* q) {
          const T* block = px + chunk.at + k;
          moments_block(block, chunk.rows, e.c, n, s, q);
          about_centre(block, about != nullptr ? about + k : nullptr, chunk.rows, n, s, q);
        });
  });
  return sums;
}

Tensor CpuBackend::channel_products(const Tensor& x, const Tensor& centre, const Tensor& dy) {
  OpScope scope(costs::channel_products(x));
  const Chunks e{batch_extents(x)};
  Tensor sums;
  dispatch_float(x.dtype(), "channel_products", [&]<class T>(T) {
    const T *px = x.data<T>(), *about = centre.data<T>(), *d = dy.data<T>();
    sums = channel_sums(
        e, [=](const Chunk& chunk, std::int64_t k, std::int64_t n, double* a, double* b) {
          gradient_block(px + chunk.at + k, d + chunk.at + k, about + k, chunk.rows, e.c, n, a, b);
        });
  });
  return sums;
}

Tensor CpuBackend::channel_gradient(const Tensor& x, const Tensor& centre, const Tensor& dy,
                                    const Tensor& coefficients) {
  OpScope scope(costs::channel_gradient(x));
  Tensor dx = Tensor::empty(dy.shape(), dy.dtype(), dy.device());
  const Chunks e{batch_extents(x)};
  dispatch_float(x.dtype(), "channel_gradient", [&]<class T>(T) {
    const T *px = x.data<T>(), *about = centre.data<T>(), *d = dy.data<T>();
    const T* of = coefficients.data<T>();
    T* to = dx.data<T>();
    for_chunks(e, [&](std::int64_t, const Chunk& chunk) {
      gradient_rows(px + chunk.at, d + chunk.at, about, of, chunk.rows, e.c, to + chunk.at);
    });
  });
  return dx;
}

NormResult CpuBackend::group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                  int groups, double eps) {
  return group_like(costs::group_norm(x), x, gamma, beta, eps, {group_extents(x, groups)},
                    {x.dim(0), groups});
}

NormGradients CpuBackend::group_norm_backward(const Tensor& x, const Tensor& gamma,
                                              const Tensor& mean, const Tensor& rstd,
                                              const Tensor& dy, int groups) {
  return group_like_backward(costs::group_norm_backward(x), x, gamma, mean, rstd, dy,
                             {group_extents(x, groups)});
}

}  // namespace nextgrad::cpu
