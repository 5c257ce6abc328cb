// Residual connection with layer scale and drop path, and the gate's backward. x is [images, rows,
// C]; chunks of a fixed number of elements are the threads' tasks, and the sums for ds run over 64
// rows in T, then in double, chunks in order.
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/extents.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kRun = 64;       // rows summed in T
constexpr std::int64_t kChunk = 65536;  // elements of a chunk

struct Extents : ImageRows {
  std::int64_t chunk_rows, chunks;
};
Extents extents(const Tensor& x, const Tensor& mask) {
  const ImageRows e = image_rows(x, mask.defined() ? mask.numel() : 1);
  const std::int64_t chunk = std::max(kRun, kChunk / std::max<std::int64_t>(1, e.c) / kRun * kRun);
  return {e, chunk, (e.rows + chunk - 1) / chunk};
}

// Calls fn(task, image, first row over all images, rows) for each chunk of each image, in parallel.
template <class Fn>
void for_chunks(const Extents& e, Fn&& fn) {
  const std::int64_t grain =
      std::max<std::int64_t>(1, kChunk / 2 / std::max<std::int64_t>(1, e.rows * e.c));
  parallel_for(e.images * e.chunks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t image = t / e.chunks, first = t % e.chunks * e.chunk_rows;
      fn(t, image, image * e.rows + first, std::min(e.chunk_rows, e.rows - first));
    }
  });
}

// mask[image] s[c] for all images, [images, c].
template <class T>
std::vector<T> coefficients(const Tensor& s, const Tensor& mask, const Extents& e) {
  std::vector<T> out(static_cast<std::size_t>(e.images * e.c), T(1));
  const T* ps = s.defined() ? s.data<T>() : nullptr;
  const T* pm = mask.defined() ? mask.data<T>() : nullptr;
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
  std::vector<T> run(static_cast<std::size_t>(c));
  T* partial = run.data();
  for (std::int64_t begin = 0; begin < rows; begin += kRun) {
    const std::int64_t end = std::min(rows, begin + kRun);
    std::fill(run.begin(), run.end(), T(0));
    for (std::int64_t r = begin; r < end; ++r) {
      const T *b = branch + r * c, *d = dy + r * c;
      T* to = dbranch + r * c;
      if (sum == nullptr) {
#pragma omp simd
        for (std::int64_t k = 0; k < c; ++k) to[k] = d[k] * scale[k];
      } else {
#pragma omp simd
        for (std::int64_t k = 0; k < c; ++k) {
          to[k] = d[k] * scale[k];
          partial[k] += d[k] * b[k];
        }
      }
    }
    if (sum == nullptr) continue;
    for (std::int64_t k = 0; k < c; ++k) sum[k] += static_cast<double>(partial[k]);
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
void gate_gradients(const T* a, const T* u, const T* dy, std::int64_t n, T* da, T* du) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    da[i] = dy[i] * u[i];
    du[i] = dy[i] * a[i];
  }
}

template <class T>
void residual_backward_all(const Tensor& branch, const Tensor& s, const Tensor& mask,
                           const Tensor& dy, const Extents& e, Tensor& dbranch, Tensor& ds) {
  const std::vector<T> scale = coefficients<T>(s, mask, e);
  const T* pd = dy.data<T>();
  const T* pb = ds.defined() ? branch.data<T>() : pd;  // not read unless ds is wanted
  T* to = dbranch.data<T>();
  std::vector<double> sums(ds.defined() ? static_cast<std::size_t>(e.images * e.chunks * e.c)
                                        : std::size_t{0});
  for_chunks(e, [&](std::int64_t t, std::int64_t image, std::int64_t first, std::int64_t rows) {
    backward_chunk(pb + first * e.c, pd + first * e.c, to + first * e.c, scale.data() + image * e.c,
                   rows, e.c, ds.defined() ? sums.data() + t * e.c : nullptr);
  });
  if (!ds.defined()) return;
  for (std::int64_t k = 0; k < e.c; ++k) {
    double total = 0;
    for (std::int64_t t = 0; t < e.images * e.chunks; ++t) {
      const double weight =
          mask.defined() ? static_cast<double>(mask.data<T>()[t / e.chunks]) : 1.0;
      total += weight * sums[static_cast<std::size_t>(t * e.c + k)];
    }
    ds.data<T>()[k] = static_cast<T>(total);
  }
}

}  // namespace

Tensor CpuBackend::residual(const Tensor& x, const Tensor& branch, const Tensor& s,
                            const Tensor& mask) {
  OpScope scope("residual", 2.0 * static_cast<double>(x.numel()),
                3.0 * static_cast<double>(x.nbytes()));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Extents e = extents(x, mask);
  dispatch_float(x.dtype(), "residual", [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> scales = coefficients<T>(s, mask, e);
    const T *px = x.data<T>(), *pb = branch.data<T>();
    T* py = y.data<T>();
    for_chunks(e, [&](std::int64_t, std::int64_t image, std::int64_t first, std::int64_t rows) {
      const T* scale = scales.data() + image * e.c;
      const std::int64_t at = first * e.c;
      residual_rows(px + at, pb + at, scale, rows, e.c, py + at);
    });
  });
  return y;
}

Backend::ResidualGradients CpuBackend::residual_backward(const Tensor& branch, const Tensor& s,
                                                         const Tensor& mask, const Tensor& dy,
                                                         bool needs_ds) {
  OpScope scope("residual_backward", 3.0 * static_cast<double>(dy.numel()),
                3.0 * static_cast<double>(dy.nbytes()));
  ResidualGradients g;
  g.dbranch = Tensor::empty(dy.shape(), dy.dtype(), dy.device());
  if (needs_ds && s.defined()) g.ds = Tensor::empty(s.shape(), s.dtype(), s.device());
  dispatch_float(dy.dtype(), "residual_backward", [&](auto zero) {
    residual_backward_all<decltype(zero)>(branch, s, mask, dy, extents(dy, mask), g.dbranch, g.ds);
  });
  return g;
}

std::pair<Tensor, Tensor> CpuBackend::gate_backward(const Tensor& a, const Tensor& u,
                                                    const Tensor& dy) {
  OpScope scope("gate_backward", 2.0 * static_cast<double>(dy.numel()),
                5.0 * static_cast<double>(dy.nbytes()));
  Tensor da = Tensor::empty(dy.shape(), dy.dtype(), dy.device());
  Tensor du = Tensor::empty(dy.shape(), dy.dtype(), dy.device());
  dispatch_float(dy.dtype(), "gate_backward", [&](auto zero) {
    using T = decltype(zero);
    const T *pa = a.data<T>(), *pu = u.data<T>(), *pd = dy.data<T>();
    T *pda = da.data<T>(), *pdu = du.data<T>();
    parallel_for(dy.numel(), 16384, [&](std::int64_t begin, std::int64_t end) {
      gate_gradients(pa + begin, pu + begin, pd + begin, end - begin, pda + begin, pdu + begin);
    });
  });
  return {da, du};
}

}  // namespace nextgrad::cpu
