// Residual connection with layer scale and drop path, in chunks (chunks.h).
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/chunks.h"
#include "tensor/cpu/kit/simd.h"

namespace nextgrad::cpu {
namespace {

using Chunks = Chunked<ImageRows>;

Chunks extents(const Tensor& x, const Tensor& mask) {
  return {image_rows(x, mask.defined() ? mask.numel() : 1)};
}

// mask[image] s[c] for all images, [images, c].
template <class T>
std::vector<T> coefficients(const Tensor& s, const Tensor& mask, const Chunks& e) {
  std::vector<T> out(e.images * e.c, T(1));
  const T *ps = data_or_null<const T>(s), *pm = data_or_null<const T>(mask);
  for (std::int64_t n = 0; n < e.images; ++n) {
    T* row = out.data() + n * e.c;
    for (std::int64_t k = 0; k < e.c; ++k) {
      if (ps != nullptr) row[k] = ps[k];
      if (pm != nullptr) row[k] *= pm[n];
    }
  }
  return out;
}

// dbranch = dy scale, and sum[c] += sum over rows of dy branch if sum is given.
template <class T>
void backward_chunk(const T* branch, const T* dy, T* dbranch, const T* scale, std::int64_t rows,
                    std::int64_t c, double* sum) {
  std::vector<T> run(c);
  T* partial = run.data();
  for (std::int64_t begin = 0; begin < rows; begin += Chunks::kRowsInT) {
    const std::int64_t end = std::min(rows, begin + Chunks::kRowsInT);
    std::fill(run.begin(), run.end(), T(0));
    for (std::int64_t r = begin; r < end; ++r) {
      const T *b = branch + r * c, *d = dy + r * c;
      T* to = dbranch + r * c;
#pragma omp simd
      for (std::int64_t k = 0; k < c; ++k) {
        to[k] = d[k] * scale[k];
        partial[k] += d[k] * b[k];
      }
    }
    if (sum != nullptr) add_to(sum, partial, c);
  }
}

// y = x + scale branch.
template <class T>
void residual_rows(const T* x, const T* branch, const T* scale, std::int64_t rows, std::int64_t c,
                   T* y) {
  for (std::int64_t r = 0; r < rows; ++r, x += c, branch += c, y += c) {
#pragma omp simd
    for (std::int64_t k = 0; k < c; ++k) y[k] = x[k] + scale[k] * branch[k];
  }
}

template <class T>
void residual_backward_all(const Tensor& branch, const Tensor& s, const Tensor& mask,
                           const Tensor& dy, const Chunks& e, Tensor& dbranch, Tensor& ds) {
  const std::vector<T> scale = coefficients<T>(s, mask, e);
  const T* pd = dy.data<T>();
  const T* pb = ds.defined() ? branch.data<T>() : pd;  // whatever, unless ds is wanted
  T* to = dbranch.data<T>();
  const std::int64_t chunks = e.chunks(), tasks = e.images * chunks;
  std::vector<double> sums(ds.defined() ? tasks * e.c : 0);
  for_chunks(e, [&](std::int64_t t, const Chunk& chunk) {
    backward_chunk(pb + chunk.at, pd + chunk.at, to + chunk.at, scale.data() + chunk.image * e.c,
                   chunk.rows, e.c, ds.defined() ? sums.data() + t * e.c : nullptr);
  });
  if (!ds.defined()) return;
  for (std::int64_t k = 0; k < e.c; ++k) {
    double total = 0;
    for (std::int64_t t = 0; t < tasks; ++t) {
      const double weight = mask.defined() ? mask.data<T>()[t / chunks] : 1.0;
      total += weight * sums[t * e.c + k];
    }
    ds.data<T>()[k] = static_cast<T>(total);
  }
}

}  // namespace

Tensor CpuBackend::residual(const Tensor& x, const Tensor& branch, const Tensor& s,
                            const Tensor& mask, Tensor*) {
  OpScope scope(costs::residual(x));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Chunks e = extents(x, mask);
  dispatch_float(x.dtype(), "residual", [&]<class T>(T) {
    const std::vector<T> scales = coefficients<T>(s, mask, e);
    const T *px = x.data<T>(), *pb = branch.data<T>();
    T* py = y.data<T>();
    for_chunks(e, [&](std::int64_t, const Chunk& chunk) {
      residual_rows(px + chunk.at, pb + chunk.at, scales.data() + chunk.image * e.c, chunk.rows,
                    e.c, py + chunk.at);
    });
  });
  return y;
}

ResidualGradients CpuBackend::residual_backward(const Tensor& branch, const Tensor& s,
                                                const Tensor& mask, const Tensor& dy,
                                                bool needs_ds) {
  OpScope scope(costs::residual_backward(dy));
  ResidualGradients g;
  g.dbranch = Tensor::empty(dy.shape(), dy.dtype(), dy.device());
  if (needs_ds && s.defined()) g.ds = Tensor::empty(s.shape(), s.dtype(), s.device());
  dispatch_float(dy.dtype(), "residual_backward", [&](auto zero) {
    residual_backward_all<decltype(zero)>(branch, s, mask, dy, extents(dy, mask), g.dbranch, g.ds);
  });
  return g;
}

}  // namespace nextgrad::cpu
