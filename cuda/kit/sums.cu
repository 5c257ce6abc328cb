#include <algorithm>

#include "cuda/kit/dispatch.h"
#include "cuda/kit/sums.h"

namespace nextgrad::cuda {
namespace {

template <class T>
struct SumTable {
  static constexpr int kMost = 12;
  struct One {
    std::int64_t first, columns;
    int kept, size;
    bool add;
    T* to;
  };
  One of[kMost];
  int count;
};

// blockIdx.y is the number of an entry.
template <class T>
__global__ void sum_partials(const T* partials, std::int64_t n, std::int64_t pitch,
                             const SumTable<T> table) {
  const auto& one = table.of[blockIdx.y];
  const std::int64_t column = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
  if (column - threadIdx.x >= one.columns) return;  // the whole block
  double total[1];
  column_totals(partials + one.first, n, pitch, one.columns, column, total);
  const std::int64_t row = column / one.size, inside = column - row * one.size;
  if (threadIdx.y != 0 || column >= one.columns || inside >= one.kept) return;
  T& to = one.to[row * one.kept + inside];
  to = static_cast<T>(one.add ? static_cast<double>(to) + total[0] : total[0]);
}

template <class T, int N>
__global__ void sum_rows(const T* x, ChannelPlan p, Compute<T>* partials, unsigned* arrivals,
                         Compute<T>* sums) {
  const ChannelPlace<N> place(p);
  Compute<T> v[N], sum[N] = {};
  place.for_rows(p, [&](std::int64_t at) {
    load<N>(x + at, v);
    unroll<N>([&](int i) { sum[i] += v[i]; });
  });
  leave_sums(p, place, sum, partials);
  finish_by_last<1>(p, place, partials, arrivals,
                    [&](std::int64_t channel, const double(&total)[1]) {
                      sums[channel] = static_cast<Compute<T>>(total[0]);
                    });
}

}  // namespace

void add_partials(cudaStream_t stream, const Tensor& partials,
                  const std::vector<ColumnSums>& sums) {
  const std::int64_t n = partials.dim(0), pitch = n == 0 ? 0 : partials.numel() / n;
  dispatch_float(partials.dtype(), "sum_partials", [&](auto zero) {
    using T = decltype(zero);
    SumTable<T> table{};
    std::int64_t widest = 0;
    for (const ColumnSums& s : sums) {
      if (!s.to.defined() || s.to.numel() == 0) continue;
      check(table.count < SumTable<T>::kMost, "sum_partials: more than {} sums", table.count);
      const std::int64_t columns = s.to.numel() / s.kept * s.size;
      table.of[table.count++] = {s.first, columns, s.kept, s.size, s.add, s.to.data<T>()};
      widest = std::max(widest, columns);
    }
    if (table.count > 0)
      launch("sum_partials", sum_partials<T>, totals_grid<1>(widest, n, table.count), stream,
             partials, n, pitch, table);
  });
}

Tensor column_sums(cudaStream_t stream, unsigned* arrivals, const Tensor& x) {
  const std::int64_t rows = x.dim(0), columns = x.dim(1);
  const DType dtype = parameter_dtype(x.dtype());
  Tensor total = Tensor::empty({columns}, dtype, x.device());
  if (rows == 0) total.fill_(0);
  if (x.numel() == 0) return total;
  dispatch_packs("column_sums", columns, {x}, [&]<class T, int N>() {
    const ChannelGrid g = finished_grid<T>({1, rows, columns}, N, 1);
    const Tensor partials = Tensor::empty({g.blocks(), columns}, dtype, x.device());
    launch("column_sums", sum_rows<T, N>, g.grid, stream, x, g.plan, partials, arrivals, total);
  });
  return total;
}

}  // namespace nextgrad::cuda
