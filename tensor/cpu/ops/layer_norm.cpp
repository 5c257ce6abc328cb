// Layer norm over the last axis, 8 rows at a time: each step (sum, squares, root, result) is done
// for all of them before the next, so that the latencies of a row's sums, root and division hide
// behind the other rows. Rows are cut into chunks (chunks.h), as are the sums for gamma and beta.
// Bound: memory, x read and y written once (a block of 8 rows stays in L1 up to 1024 channels).
// The forward kernel is step 5, the last, of the ladder in tests/tensor/layer_norm_ladder.cpp, that
// starts from three textbook loops and times every step.
#include <cmath>
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/chunks.h"
#include "tensor/cpu/kit/lanes.h"

namespace nextgrad::cpu {
namespace {

constexpr int kRows = 8;  // rows in flight

// A vector sum and the sum of what is left over.
template <class T>
struct Sum {
  Vec<T> lanes = {};
  T rest = 0;
  void add(Vec<T> v) { lanes += v; }
  void add(T v) { rest += v; }
  T total() const { return lane_sum<T>(lanes) + rest; }
};

template <class T>
inline T sum_of_differences(const T* x, T from, std::int64_t c) {
  Sum<T> sum;
  for_lanes<T>(c, [&](std::int64_t k, auto zero) {
    sum.add(static_cast<decltype(zero)>(get<decltype(zero)>(x + k) - from));
  });
  return sum.total();
}
template <class T>
inline T sum_of_squares(const T* x, T mean, std::int64_t c) {
  Sum<T> sum;
  for_lanes<T>(c, [&](std::int64_t k, auto zero) {
    const auto d = get<decltype(zero)>(x + k) - mean;
    sum.add(static_cast<decltype(zero)>(d * d));
  });
  return sum.total();
}

template <int R, class T>
void normalise(const T* x, const T* gamma, const T* beta, std::int64_t c, T eps, T* y, T* mean,
               T* rstd) {
  const T inverse = T(1) / static_cast<T>(c);
  for (int r = 0; r < R; ++r) {  // the first element taken off, lest a large mean lose digits
    mean[r] = x[r * c] + sum_of_differences(x + r * c, x[r * c], c) * inverse;
  }
  for (int r = 0; r < R; ++r) rstd[r] = sum_of_squares(x + r * c, mean[r], c) * inverse + eps;
  for (int r = 0; r < R; ++r) rstd[r] = T(1) / std::sqrt(rstd[r]);
  for (int r = 0; r < R; ++r) {
    const T m = mean[r], s = rstd[r];
    for_lanes<T>(c, [&](std::int64_t k, auto zero) {
      using V = decltype(zero);
      put<V>(y + r * c + k, (get<V>(x + r * c + k) - m) * s * get<V>(gamma + k) + get<V>(beta + k));
    });
  }
}

// dx = rstd (g - mean(g) - hat mean(g hat)), g = dy gamma, hat = (x - mean) rstd; adds dy hat and
// dy to dgamma and dbeta.
template <int R, class T>
void gradient(const T* x, const T* gamma, const T* mean, const T* rstd, const T* dy, std::int64_t c,
              T* dx, T* dgamma, T* dbeta) {
  const T inverse = T(1) / static_cast<T>(c);
  T a[R], b[R];
  for (int r = 0; r < R; ++r) {
    const T m = mean[r], s = rstd[r];
    Sum<T> sum_a, sum_b;
    for_lanes<T>(c, [&](std::int64_t k, auto zero) {
      using V = decltype(zero);
      const V g = get<V>(dy + r * c + k) * get<V>(gamma + k);
      sum_a.add(g);
      sum_b.add(static_cast<V>(g * ((get<V>(x + r * c + k) - m) * s)));
    });
    a[r] = sum_a.total() * inverse;
    b[r] = sum_b.total() * inverse;
  }
  for_lanes<T>(c, [&](std::int64_t k, auto zero) {
    using V = decltype(zero);
    V dg = get<V>(dgamma + k), db = get<V>(dbeta + k);
    const V scale = get<V>(gamma + k);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V d = get<V>(dy + r * c + k), hat = (get<V>(x + r * c + k) - mean[r]) * rstd[r];
      put<V>(dx + r * c + k, rstd[r] * (d * scale - a[r] - hat * b[r]));
      dg += d * hat;
      db += d;
    }
    put<V>(dgamma + k, dg);
    put<V>(dbeta + k, db);
  });
}

using Chunks = Chunked<ImageRows>;

template <class T>
void layer_norm_all(const T* x, const T* gamma, const T* beta, const Chunks& e, T eps, T* y,
                    T* mean, T* rstd) {
  for_chunks(e, [&, c = e.c](std::int64_t, const Chunk& chunk) {
    for_row_groups<kRows>(chunk.row, chunk.row + chunk.rows, [=](std::int64_t r, auto n) {
      normalise<n()>(x + r * c, gamma, beta, c, eps, y + r * c, mean + r, rstd + r);
    });
  });
}

template <class T>
void layer_norm_backward_all(const T* x, const T* gamma, const T* mean, const T* rstd, const T* dy,
                             const Chunks& e, T* dx, T* dgamma, T* dbeta) {
  const std::int64_t c = e.c, chunks = e.chunks();
  std::vector<double> sums(std::max<std::int64_t>(1, chunks) * 2 * c);
  for_chunks(e, [&](std::int64_t t, const Chunk& chunk) {
    std::vector<T> run(2 * c);
    T *dg = run.data(), *db = dg + c;
    const std::int64_t end = chunk.row + chunk.rows;
    for (std::int64_t first = chunk.row; first < end; first += e.kRowsInT) {
      std::fill(run.begin(), run.end(), T(0));
      for_row_groups<kRows>(first, std::min(first + e.kRowsInT, end), [=](std::int64_t r, auto n) {
        gradient<n()>(x + r * c, gamma, mean + r, rstd + r, dy + r * c, c, dx + r * c, dg, db);
      });
      add_to(sums.data() + t * 2 * c, dg, 2 * c);
    }
  });
  for (std::int64_t j = 1; j < chunks; ++j) add_to(sums.data(), sums.data() + j * 2 * c, 2 * c);
  std::copy_n(sums.data(), c, dgamma);
  std::copy_n(sums.data() + c, c, dbeta);
}

}  // namespace

NormResult CpuBackend::layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                  double eps) {
  OpScope scope(costs::layer_norm(x));
  NormResult result = empty_norm(x, without_axis(x.shape(), x.ndim() - 1));
  dispatch_float(x.dtype(), "layer_norm", [&]<class T>(T) {
    layer_norm_all(x.data<T>(), gamma.data<T>(), beta.data<T>(), {image_rows(x, 1)},
                   static_cast<T>(eps), result.y.data<T>(), result.mean.data<T>(),
                   result.rstd.data<T>());
  });
  return result;
}

NormGradients CpuBackend::layer_norm_backward(const Tensor& x, const Tensor& gamma,
                                              const Tensor& mean, const Tensor& rstd,
                                              const Tensor& dy) {
  OpScope scope(costs::layer_norm_backward(x));
  NormGradients g = empty_norm_gradients(x, gamma);
  dispatch_float(x.dtype(), "layer_norm_backward", [&]<class T>(T) {
    layer_norm_backward_all(x.data<T>(), gamma.data<T>(), mean.data<T>(), rstd.data<T>(),
                            dy.data<T>(), {image_rows(x, 1)}, g.dx.data<T>(), g.dgamma.data<T>(),
                            g.dbeta.data<T>());
  });
  return g;
}

}  // namespace nextgrad::cpu
