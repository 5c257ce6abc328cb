// Reductions. Adjacent reduced axes are one axis of [outer, r, inner], reduced group by group. r is
// cut into chunks of fixed size and inner into blocks of columns; short runs are summed in T, the
// runs in double, the chunks in order: fast, accurate and the same for any number of threads.
#include <cmath>
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kColumns = 512;            // columns of a block
constexpr std::int64_t kRowsInT = 32;             // rows summed in T before going to double
constexpr std::int64_t kElementsPerTask = 65536;  // elements of a chunk
constexpr std::int64_t kRowRun = 1024;            // elements of one row summed in T

// acc[c] += the sum over rows of x[row * stride + c], c < n <= kColumns.
template <class T>
void reduce_block(const T* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* acc) {
  T run[kColumns];
  for (std::int64_t begin = 0; begin < rows; begin += kRowsInT) {
    const std::int64_t end = std::min(rows, begin + kRowsInT);
    std::copy_n(x + begin * stride, n, run);
    for (std::int64_t r = begin + 1; r < end; ++r) {
      const T* row = x + r * stride;
#pragma omp simd
      for (std::int64_t c = 0; c < n; ++c) run[c] += row[c];
    }
    for (std::int64_t c = 0; c < n; ++c) acc[c] += double{run[c]};
  }
}

// The sum of n contiguous elements: 16 lanes over each run, then lane by lane.
template <class T>
double reduce_row(const T* x, std::int64_t n) {
  constexpr std::int64_t kLanes = 16;
  double acc = 0;
  std::int64_t i = 0;
  while (n - i >= kLanes) {
    T lane[kLanes];
    std::copy_n(x + i, kLanes, lane);
    const std::int64_t end = i + std::min(kRowRun, (n - i) / kLanes * kLanes);
    for (i += kLanes; i < end; i += kLanes) {
#pragma omp simd
      for (std::int64_t l = 0; l < kLanes; ++l) lane[l] += x[i + l];
    }
    for (const T v : lane) acc += static_cast<double>(v);
  }
  for (; i < n; ++i) acc += static_cast<double>(x[i]);
  return acc;
}

// y [outer, inner] = factor * the sum over r of x [outer, r, inner].
template <class T>
void reduce_middle(const T* x, T* y, const MiddleAxes& e, double factor) {
  const auto [outer, r, inner] = e;
  const std::int64_t columns = std::min(inner, kColumns);
  const std::int64_t blocks = (inner + kColumns - 1) / kColumns;
  const std::int64_t chunk = std::max(kRowsInT, kElementsPerTask / columns);
  const std::int64_t chunks = std::max<std::int64_t>(1, (r + chunk - 1) / chunk);
  // Where a single chunk is the whole, its results go to y at once.
  std::vector<double> partial(chunks > 1 ? outer * chunks * inner : 0);
  const std::int64_t work = std::min(r, chunk) * columns;
  const std::int64_t grain = kElementsPerTask / std::max<std::int64_t>(1, work);
  parallel_each(outer * chunks * blocks, grain, [&](std::int64_t t) {
    const std::int64_t block = t % blocks, part = t / blocks;  // part = o * chunks + chunk
    const std::int64_t first = part % chunks * chunk, rows = std::min(chunk, r - first);
    const T* from = x + (part / chunks * r + first) * inner + block * kColumns;
    const std::int64_t at = part * inner + block * kColumns;
    const std::int64_t n = std::min(kColumns, inner - block * kColumns);
    double whole[kColumns];
    std::fill_n(whole, n, 0.0);
    double* to = chunks > 1 ? partial.data() + at : whole;
    if (inner == 1) {
      *to = reduce_row(from, rows);
    } else {
      reduce_block(from, rows, inner, n, to);
    }
    if (chunks > 1) return;
    for (std::int64_t c = 0; c < n; ++c) y[at + c] = static_cast<T>(to[c] * factor);
  });
  if (chunks == 1) return;
  parallel_each(outer, kElementsPerTask / (chunks * inner), [&](std::int64_t o) {
    double* first = partial.data() + o * chunks * inner;
    for (std::int64_t k = 1; k < chunks; ++k) {
      for (std::int64_t c = 0; c < inner; ++c) first[c] += first[k * inner + c];
    }
    for (std::int64_t c = 0; c < inner; ++c) y[o * inner + c] = static_cast<T>(first[c] * factor);
  });
}

// index of the first largest of r for each [outer, inner]; NaN is larger than any number.
template <class T>
void argmax_middle(const T* x, std::int64_t* y, const MiddleAxes& e) {
  const auto [outer, r, inner] = e;
  const std::int64_t grain = kElementsPerTask / std::max<std::int64_t>(1, r);
  parallel_for(outer * inner, grain, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t o = begin / inner, c = begin % inner;
    for (std::int64_t t = begin; t < end; ++t) {
      const T* column = x + o * r * inner + c;
      std::int64_t best = 0;
      T most = column[0];
      for (std::int64_t k = 1; k < r; ++k) {
        const T v = column[k * inner];
        if (v > most || (v != v && most == most)) {
          most = v;
          best = k;
        }
      }
      y[t] = best;
      if (++c == inner) {
        c = 0;
        ++o;
      }
    }
  });
}

template <class T>
double squares(const T* x, std::int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace

Tensor CpuPrimitives::reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) {
  OpScope scope(costs::reduce(x));
  return reduce_groups(op, x, axes, x.dtype(),
                       [&](const Tensor& from, const MiddleAxes& e, double factor, Tensor& to) {
                         dispatch_float(x.dtype(), "reduce", [&]<class T>(T) {
                           reduce_middle(from.data<T>(), to.data<T>(), e, factor);
                         });
                       });
}

Tensor CpuPrimitives::argmax(const Tensor& x, int axis) {
  auto [e, y] = prepare_argmax(x, axis);
  OpScope scope(costs::argmax(x));
  dispatch_float(x.dtype(), "argmax", [&](auto zero) {
    argmax_middle(x.data<decltype(zero)>(), y.data<std::int64_t>(), e);
  });
  return y;
}

Tensor CpuBackend::norm(const std::vector<Tensor>& all) {
  OpScope scope(costs::norm(all));
  double sum = 0;
  for (const Tensor& x : all) {
    sum += dispatch_float(x.dtype(), "norm", [&](auto zero) {
      const auto* p = x.data<decltype(zero)>();
      return sum_of_chunks(x.numel(), kElementsPerTask, [p](std::int64_t begin, std::int64_t end) {
        return squares(p + begin, end - begin);
      });
    });
  }
  return Tensor::scalar(std::sqrt(sum), DType::f64);
}

}  // namespace nextgrad::cpu
