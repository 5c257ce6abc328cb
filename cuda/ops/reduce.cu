// Reductions. Adjacent reduced axes are one axis of [outer, r, inner]; a thread combines a few
// numbers in T, then in double, a block its threads, and what blocks leave is reduced again.
#include <cmath>
#include <limits>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channels.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/row_team.h"

namespace nextgrad::cuda {
namespace {

struct Min {  // NaN wins
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};

template <class Op>
__device__ __forceinline__ double start_of() {
  if constexpr (std::is_same_v<Op, Max>)
    return -static_cast<double>(INFINITY);
  else if constexpr (std::is_same_v<Op, Min>)
    return static_cast<double>(INFINITY);
  else
    return 0;
}

constexpr int kRun = 16;  // packs combined in T by a thread
#ifdef NEXTGRAD_EMULATE_CUDA
constexpr unsigned kMostBlocks = 3;
#else
constexpr unsigned kMostBlocks = 65535;
#endif

// y [outer, chunks, inner] = factor * op over each chunk of x [outer, r, inner].
template <class Op, class T, class Out, int N>
__global__ void reduce_columns(const T* x, ChannelPlan p, double factor, Out* y) {
  const ChannelPlace<N> place(p);
  double result[N];
  Compute<T> run[N];
  for (int i = 0; i < N; ++i) run[i] = static_cast<Compute<T>>(start_of<Op>());
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> v[N];
    load<N>(x + at, v);
#pragma unroll
    for (int i = 0; i < N; ++i) run[i] = Op()(run[i], v[i]);
  });
  for (int i = 0; i < N; ++i) result[i] = static_cast<double>(run[i]);
  combine_rows(result, shared_memory<double>(), Op());
  if (threadIdx.y != 0 || !place.inside) return;
  for (int i = 0; i < N; ++i)
    y[blockIdx.x * p.c + place.channel + i] = narrow<Out>(result[i] * factor);
}

// y [outer, chunks] = factor * op over each chunk of x [outer, r]; a team of threads a chunk.
template <class Op, class T, class Out, int N>
__global__ void reduce_rows(const T* x, std::int64_t r, std::int64_t chunk, std::int64_t chunks,
                            std::int64_t n, int lanes, double factor, Out* y) {
  __shared__ double scratch[32];
  for (TeamRows team(lanes); team.more(n); team.next()) {
    double result = start_of<Op>();
    if (team.row < n) {
      const std::int64_t outer = team.row / chunks, first = (team.row - outer * chunks) * chunk;
      const T* from = x + outer * r + first;
      const int count = static_cast<int>(first + chunk < r ? chunk : r - first);
      Compute<T> run[N];
      for (int i = 0; i < N; ++i) run[i] = static_cast<Compute<T>>(start_of<Op>());
#pragma unroll 4
      for (int at = team.lane * N; at < count; at += lanes * N) {
        Compute<T> v[N];
        load<N>(from + at, v);
#pragma unroll
        for (int i = 0; i < N; ++i) run[i] = Op()(run[i], v[i]);
      }
      for (int i = 0; i < N; ++i) result = Op()(result, static_cast<double>(run[i]));
    }
    result = team.combine(result, scratch, Op());
    if (team.lane == 0 && team.row < n) y[team.row] = narrow<Out>(result * factor);
  }
}

// A candidate for the largest: NaN is larger than any number, the first of equals wins.
template <class T>
__device__ __forceinline__ bool beats(T a, std::int64_t at_a, T b, std::int64_t at_b) {
  if (a != a || b != b) return a != a && (b == b || at_a < at_b);
  return a > b || (a == b && at_a < at_b);
}

template <class T>
__global__ void argmax_columns(const T* x, std::int64_t* y, std::int64_t n, std::int64_t r,
                               std::int64_t inner) {
  for (std::int64_t i = global_index(); i < n; i += global_threads()) {
    const T* column = x + i / inner * r * inner + i % inner;
    Compute<T> most = widen(column[0]);
    std::int64_t best = 0;
    for (std::int64_t k = 1; k < r; ++k) {
      const Compute<T> v = widen(column[k * inner]);
      if (!beats(v, k, most, best)) continue;
      most = v;
      best = k;
    }
    y[i] = best;
  }
}

// A warp a row.
template <class T>
__global__ void argmax_rows(const T* x, std::int64_t* y, std::int64_t n, std::int64_t r) {
  for (TeamRows team(32); team.more(n); team.next()) {
    Compute<T> most = -static_cast<Compute<T>>(INFINITY);
    std::int64_t best = r;
    if (team.row < n) {
      for (std::int64_t k = team.lane; k < r; k += 32) {
        const Compute<T> v = widen(x[team.row * r + k]);
        if (!beats(v, k, most, best)) continue;
        most = v;
        best = k;
      }
    }
    for (int step = 16; step > 0; step /= 2) {
      const Compute<T> other = __shfl_xor_sync(kAllLanes, most, step);
      const auto at = static_cast<std::int64_t>(
          __shfl_xor_sync(kAllLanes, static_cast<unsigned long long>(best), step));
      if (!beats(other, at, most, best)) continue;
      most = other;
      best = at;
    }
    if (team.lane == 0 && team.row < n) y[team.row] = best;
  }
}

// Tensors whose squares one launch sums up: blocks [first_block[i], first_block[i + 1]) are those
// of tensor i.
struct NormTable {
  static constexpr int kMost = 512;
  const void* at[kMost];
  std::int64_t n[kMost];
  int first_block[kMost + 1];
  int tensors;
};
constexpr int kNormChunk = 64 * kThreads;  // elements of a block

template <class T>
__global__ void sum_squares(const NormTable table, double* partials) {
  __shared__ double scratch[32];
  const int block = static_cast<int>(blockIdx.x);
  int low = 0, high = table.tensors;  // the last whose first block is not after this one
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.first_block[middle] <= block)
      low = middle;
    else
      high = middle;
  }
  const std::int64_t first = static_cast<std::int64_t>(block - table.first_block[low]) * kNormChunk;
  const T* from = static_cast<const T*>(table.at[low]) + first;
  const std::int64_t left = table.n[low] - first;
  const int n = left < kNormChunk ? static_cast<int>(left) : kNormChunk;
  double sum[4] = {0, 0, 0, 0};
  int i = static_cast<int>(threadIdx.x);
  for (; i + 3 * kThreads < n; i += 4 * kThreads) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const double v = static_cast<double>(widen(from[i + k * kThreads]));
      sum[k] += v * v;
    }
  }
  for (; i < n; i += kThreads) {
    const double v = static_cast<double>(widen(from[i]));
    sum[0] += v * v;
  }
  const double total = block_reduce((sum[0] + sum[1]) + (sum[2] + sum[3]), scratch);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

__global__ void root_of_sum(const double* partials, int n, double* result) {
  __shared__ double scratch[32];
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) sum += partials[i];
  sum = block_reduce(sum, scratch);
  if (threadIdx.x == 0) *result = sqrt(sum);
}

// *bad = 1 if any number is not finite.
template <class T>
__global__ void find_not_finite(const T* x, std::int64_t n, int* bad) {
  bool found = false;
  for (std::int64_t i = global_index(); i < n; i += global_threads())
    found = found || !(widen(x[i]) * 0 == 0);
  if (found) atomicOr(bad, 1);
}

struct Extents {
  std::int64_t outer = 1, r = 1, inner = 1;
};
Extents around(const Shape& shape, int first, int last) {  // axes first..last are the middle
  Extents e;
  for (int a = 0; a < shape.size(); ++a)
    (a < first ? e.outer : a <= last ? e.r : e.inner) *= shape[a];
  return e;
}

// Blocks of the first pass over [outer, r, inner], and with them how much is left of r.
struct Pass {
  ChannelGrid columns{};
  std::int64_t chunk = 0, chunks = 0;
  int lanes = 0;
};
template <class T>
Pass plan_pass(const Extents& e, bool wide) {
  Pass pass;
  if (e.inner > 1) {
    pass.columns = channel_grid(e.outer, e.r, e.inner, wide ? kPack<T> : 1, kRun,
                                (wide ? kPack<T> : 1) * sizeof(double));
    pass.chunks = pass.columns.plan.chunks;
    return pass;
  }
  const int pack = wide ? kPack<T> : 1;
  pass.lanes = team_lanes((e.r + pack - 1) / pack);
  pass.chunk = std::int64_t{pass.lanes} * pack * kRun;
  pass.chunks = (e.r + pass.chunk - 1) / pass.chunk;
  return pass;
}

template <class T, class Out, class Op>
void run_pass(const Pass& pass, const Extents& e, bool wide, double factor, const Tensor& x,
              Tensor& y, cudaStream_t stream) {
  const T* from = x.data<T>();
  Out* to = y.data<Out>();
  with_pack<T>(wide, [&](auto width) {
    constexpr int N = decltype(width)::value;
    if (e.inner > 1) {
      // A grid has at most 65,535 blocks along y.
      for (unsigned first = 0, all = pass.columns.grid.blocks.y; first < all;
           first += kMostBlocks) {
        ChannelPlan plan = pass.columns.plan;
        Grid grid = pass.columns.grid;
        plan.first = first;
        grid.blocks.y = std::min(all - first, kMostBlocks);
        launch("reduce_columns", reduce_columns<Op, T, Out, N>, grid, stream, from, plan, factor,
               to);
      }
      return;
    }
    const std::int64_t n = e.outer * pass.chunks;
    launch("reduce_rows", reduce_rows<Op, T, Out, N>, team_grid(n, pass.lanes), stream, from, e.r,
           pass.chunk, pass.chunks, n, pass.lanes, factor, to);
  });
}

// y = factor * op of x over the middle, passes until one number is left of it.
template <class Op, class T, class Last>
void reduce_middle(const Tensor& x, Extents e, double factor, Tensor& y, cudaStream_t stream) {
  const bool wide = packs_fit<T>(e.inner > 1 ? e.inner : e.r, x.data<T>());
  const Pass pass = plan_pass<T>(e, wide);
  if (pass.chunks == 1) {
    run_pass<T, Last, Op>(pass, e, wide, factor, x, y, stream);
    return;
  }
  Tensor partials = Tensor::empty({e.outer, pass.chunks, e.inner}, DType::f64, x.device());
  run_pass<T, double, Op>(pass, e, wide, 1, x, partials, stream);
  reduce_middle<Op, double, Last>(partials, {e.outer, pass.chunks, e.inner}, factor, y, stream);
}

template <class T, class Last>
void reduce_by(Reduce op, const Tensor& x, const Extents& e, double factor, Tensor& y,
               cudaStream_t stream) {
  if (op == Reduce::max)
    reduce_middle<Max, T, Last>(x, e, factor, y, stream);
  else if (op == Reduce::min)
    reduce_middle<Min, T, Last>(x, e, factor, y, stream);
  else
    reduce_middle<Sum, T, Last>(x, e, factor, y, stream);
}

}  // namespace

Tensor CudaBackend::reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) {
  Scope scope(*this, "reduce", static_cast<double>(x.numel()), static_cast<double>(x.nbytes()));
  std::int64_t count = 1;
  for (const int a : axes) count *= x.shape()[a];
  check(count > 0 || op == Reduce::sum, "reduce: no element along the reduced axes of {}",
        x.shape().str());
  if (axes.empty()) return x.clone();
  const double mean = op == Reduce::mean ? 1.0 / static_cast<double>(count) : 1.0;
  Tensor y = x;
  for (std::size_t end = axes.size(); end > 0;) {
    std::size_t begin = end - 1;
    while (begin > 0 && axes[begin - 1] == axes[begin] - 1) --begin;
    const Extents e = around(y.shape(), axes[begin], axes[end - 1]);
    Shape shape = y.shape();
    for (int a = axes[begin]; a <= axes[end - 1]; ++a) shape[a] = 1;
    const Tensor from = y;  // groups but the last leave doubles
    y = empty(shape, begin == 0 ? x.dtype() : DType::f64);
    const double factor = begin == 0 ? mean : 1.0;
    end = begin;
    if (y.numel() == 0) continue;
    if (e.r == 0) {
      y.fill_(0);
      continue;
    }
    dispatch_activation(x.dtype(), "reduce", [&](auto zero) {
      using T = decltype(zero);
      const bool first = from.dtype() == x.dtype(), last = y.dtype() == x.dtype();
      if (first && last)
        reduce_by<T, T>(op, from, e, factor, y, stream_);
      else if (first)
        reduce_by<T, double>(op, from, e, factor, y, stream_);
      else if (last)
        reduce_by<double, T>(op, from, e, factor, y, stream_);
      else
        reduce_by<double, double>(op, from, e, factor, y, stream_);
    });
  }
  return y;
}

Tensor CudaBackend::argmax(const Tensor& x, int axis) {
  const int at = x.shape().axis(axis);
  const Extents e = around(x.shape(), at, at);
  check(e.r > 0, "argmax: axis {} of {} is empty", axis, x.shape().str());
  Shape shape;
  for (int a = 0; a < x.ndim(); ++a) {
    if (a != at) shape.push_back(x.shape()[a]);
  }
  Tensor y = empty(shape, DType::i64);
  Scope scope(*this, "argmax", static_cast<double>(x.numel()),
              static_cast<double>(x.nbytes() + y.nbytes()));
  const std::int64_t n = e.outer * e.inner;
  if (n == 0) return y;
  dispatch_activation(x.dtype(), "argmax", [&](auto zero) {
    using T = decltype(zero);
    if (e.inner == 1) {
      launch("argmax_rows", argmax_rows<T>, team_grid(n, 32), stream_, x.data<T>(),
             y.data<std::int64_t>(), n, e.r);
    } else {
      launch("argmax_columns", argmax_columns<T>, grid_for(n), stream_, x.data<T>(),
             y.data<std::int64_t>(), n, e.r, e.inner);
    }
  });
  return y;
}

Tensor CudaBackend::norm(const std::vector<Tensor>& all) {
  double elements = 0, bytes = 0;
  std::int64_t blocks = 0;
  const auto blocks_of = [](const Tensor& x) { return (x.numel() + kNormChunk - 1) / kNormChunk; };
  for (const Tensor& x : all) {
    elements += static_cast<double>(x.numel());
    bytes += static_cast<double>(x.nbytes());
    blocks += blocks_of(x);
  }
  Scope scope(*this, "norm", 2 * elements, bytes);
  const Tensor partials = empty({blocks}, DType::f64);
  Tensor result = empty({}, DType::f64);
  double* to = partials.data<double>();
  for (std::size_t next = 0; next < all.size();) {
    NormTable table{};
    const DType dtype = all[next].dtype();
    int count = 0;
    for (; next < all.size() && all[next].dtype() == dtype && table.tensors < NormTable::kMost;
         ++next) {
      const Tensor& x = all[next];
      if (x.numel() == 0) continue;
      table.at[table.tensors] = x.raw();
      table.n[table.tensors] = x.numel();
      table.first_block[table.tensors++] = count;
      count += static_cast<int>(blocks_of(x));
    }
    if (count == 0) continue;
    dispatch_activation(dtype, "norm", [&](auto zero) {
      launch("sum_squares", sum_squares<decltype(zero)>,
             {dim3(static_cast<unsigned>(count)), dim3(kThreads)}, stream_, table, to);
    });
    to += count;
  }
  launch("root_of_sum", root_of_sum, {dim3(1), dim3(kThreads)}, stream_, partials.data<double>(),
         static_cast<int>(blocks), result.data<double>());
  return result;
}

bool CudaBackend::all_finite(const Tensor& x) {
  Scope scope(*this, "all_finite", static_cast<double>(x.numel()), static_cast<double>(x.nbytes()));
  if (x.numel() == 0) return true;
  const Tensor bad = empty({}, DType::i32);
  cuda_check(cudaMemsetAsync(bad.raw(), 0, bad.nbytes(), stream_), "clearing a flag");
  dispatch_activation(x.dtype(), "all_finite", [&](auto zero) {
    using T = decltype(zero);
    launch("find_not_finite", find_not_finite<T>, grid_for(x.numel(), kThreads, 2048), stream_,
           x.data<T>(), x.numel(), bad.data<std::int32_t>());
  });
  return bad.item() == 0;
}

}  // namespace nextgrad::cuda
