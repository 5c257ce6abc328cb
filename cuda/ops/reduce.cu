// Reductions. Adjacent reduced axes are one axis of [outer, r, inner]; a thread adds a few
// numbers in T, then in double, a block its threads, and what blocks leave is reduced again.
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channels.h"
#include "cuda/kit/row_team.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {
namespace {

// A thread's sums so far, N side by side.
template <class T, int N>
struct Run {
  Compute<T> value[N] = {};
  __device__ __forceinline__ void add(const T* from) {
    Compute<T> v[N];
    load<N>(from, v);
    unroll<N>([&](int i) { value[i] += v[i]; });
  }
};

constexpr int kPacksInT = 16;  // packs added in T by a thread

// y [outer, chunks, inner] = factor * the sum of each chunk of x [outer, r, inner].
template <class T, class Out, int N>
__global__ void reduce_columns(const T* x, ChannelPlan p, double factor, Out* y) {
  const ChannelPlace<N> place(p);
  Run<T, N> run;
  place.for_rows(p, [&](std::int64_t at) { run.add(x + at); });
  double result[N];
  for (int i = 0; i < N; ++i) result[i] = static_cast<double>(run.value[i]);
  combine_rows(result, shared_memory<double>());
  if (threadIdx.y != 0 || !place.inside) return;
  for (int i = 0; i < N; ++i)
    y[place.part * p.c + place.channel + i] = narrow<Out>(result[i] * factor);
}

// y [outer, chunks] = factor * the sum of each chunk of x [outer, r]; a team of threads a chunk.
template <class T, class Out, int N>
__global__ void reduce_rows(const T* x, std::int64_t r, std::int64_t chunk, std::int64_t chunks,
                            std::int64_t n, int lanes, double factor, Out* y) {
  __shared__ double scratch[32];
  for (TeamRows team(lanes); team.more(n); team.next()) {
    double result = 0;
    if (team.row < n) {
      const std::int64_t outer = team.row / chunks, first = (team.row - outer * chunks) * chunk;
      const T* from = x + outer * r + first;
      const int count = static_cast<int>(first + chunk < r ? chunk : r - first);
      Run<T, N> run;
#pragma unroll 4
      for (int at = team.lane * N; at < count; at += lanes * N) run.add(from + at);
      for (const Compute<T> v : run.value) result += static_cast<double>(v);
    }
    result = team.combine(result, scratch);
    if (team.lane == 0 && team.row < n) y[team.row] = narrow<Out>(result * factor);
  }
}

// The largest so far: NaN is larger than any number, the first of equals wins.
template <class C>
struct Largest {
  C value;
  std::int64_t at;
  __device__ __forceinline__ void meet(C other, std::int64_t other_at) {
    const bool earlier = other_at < at;
    const bool wins = other != other || value != value
                          ? other != other && (value == value || earlier)
                          : other > value || (other == value && earlier);
    if (!wins) return;
    value = other;
    at = other_at;
  }
};

// y [outer, inner] of x [outer, r, inner]; `lanes`, at most a warp, share a row of it.
template <class T>
__global__ void argmax_middle(const T* x, std::int64_t* y, std::int64_t n, std::int64_t r,
                              std::int64_t inner, int lanes) {
  for (TeamRows team(lanes); team.more(n); team.next()) {
    Largest<Compute<T>> most{-static_cast<Compute<T>>(INFINITY), r};
    if (team.row < n) {
      const T* from = x + team.row / inner * r * inner + team.row % inner;
      for (std::int64_t k = team.lane; k < r; k += lanes) most.meet(widen(from[k * inner]), k);
    }
    for (int step = lanes / 2; step > 0; step /= 2) {
      const auto at = __shfl_xor_sync(kAllLanes, static_cast<unsigned long long>(most.at), step);
      most.meet(__shfl_xor_sync(kAllLanes, most.value, step), static_cast<std::int64_t>(at));
    }
    if (team.lane == 0 && team.row < n) y[team.row] = most.at;
  }
}

// Tensors whose squares one launch sums up.
struct Numbers {
  const void* at;
  std::int64_t n;
};
using NormTable = BlockTable<Numbers, 512>;
constexpr int kNormChunk = 64 * kThreads;  // elements of a block

template <class T>
__global__ void sum_squares(const NormTable table, double* partials) {
  __shared__ double scratch[32];
  const int block = static_cast<int>(blockIdx.x);
  const int tensor = table.owner_of(block);
  const std::int64_t first = std::int64_t{block - table.first_block[tensor]} * kNormChunk;
  const T* from = static_cast<const T*>(table.of[tensor].at) + first;
  const std::int64_t left = table.of[tensor].n - first;
  const int n = left < kNormChunk ? static_cast<int>(left) : kNormChunk;
  double sums[4] = {};  // so that an addition does not wait for the one before
#pragma unroll 2
  for (int at = static_cast<int>(threadIdx.x); at < n; at += 4 * kThreads)
    unroll<4>([&](int k) {
      const double v =
          at + k * kThreads < n ? static_cast<double>(widen(from[at + k * kThreads])) : 0;
      sums[k] += v * v;
    });
  double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  sum = block_reduce(sum, scratch);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void root_of_sum(const double* partials, std::int64_t n, double* result) {
  __shared__ double scratch[32];
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) sum += partials[i];
  sum = block_reduce(sum, scratch);
  if (threadIdx.x == 0) *result = sqrt(sum);
}

// What one pass over [outer, r, inner] leaves of r, and its launches.
struct Pass {
  ChannelGrid columns{};  // inner > 1
  int lanes = 0;          // else
  std::int64_t chunk = 0, chunks = 0;

  Pass(const MiddleAxes& e, int pack) {
    if (e.inner > 1) {
      columns = channel_grid({e.outer, e.r, e.inner}, pack, kPacksInT, pack * sizeof(double));
      chunks = columns.plan.chunks;
      return;
    }
    lanes = team_lanes(parts_of(e.r, pack));
    chunk = std::int64_t{lanes} * pack * kPacksInT;
    chunks = parts_of(e.r, chunk);
  }
};

template <class T, class Out, int N>
void run_pass(const Pass& pass, const MiddleAxes& e, double factor, const Tensor& x,
              const Tensor& y, cudaStream_t stream) {
  const std::int64_t n = e.outer * pass.chunks;
  if (e.inner == 1)
    launch("reduce_rows", reduce_rows<T, Out, N>, team_grid(n, pass.lanes), stream, x, e.r,
           pass.chunk, pass.chunks, n, pass.lanes, factor, y);
  else
    launch("reduce_columns", reduce_columns<T, Out, N>, pass.columns.grid, stream, x,
           pass.columns.plan, factor, y);
}

// y = factor * the sum of x over the middle: passes, with doubles between them, until one number is
// left of it.
void reduce_middle(Tensor x, MiddleAxes e, double factor, const Tensor& y, cudaStream_t stream) {
  for (bool done = false; !done;) {
    Tensor left;
    dispatch_packs("reduce", e.inner > 1 ? e.inner : e.r, {x}, [&]<class T, int N>() {
      const Pass pass(e, N);
      done = pass.chunks == 1;
      left = done ? y : Tensor::empty({e.outer, pass.chunks, e.inner}, DType::f64, x.device());
      const double by = done ? factor : 1;
      if (left.dtype() == DType::f64)
        run_pass<T, double, N>(pass, e, by, x, left, stream);
      else if (left.dtype() == dtype_of<T>)
        run_pass<T, T, N>(pass, e, by, x, left, stream);
      else if constexpr (std::is_same_v<T, double>)
        dispatch_activation(left.dtype(), "reduce", [&]<class Out>() {
          run_pass<double, Out, N>(pass, e, by, x, left, stream);
        });
      e.r = pass.chunks;
    });
    x = left;
  }
}

}  // namespace

Tensor CudaBackend::reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) {
  Scope scope(*this, costs::reduce(x));
  return reduce_groups(op, x, axes, DType::f64,
                       [&](const Tensor& from, const MiddleAxes& e, double factor, Tensor& to) {
                         reduce_middle(from, e, factor, to, stream_);
                       });
}

Tensor CudaBackend::argmax(const Tensor& x, int axis) {
  const auto [e, y] = prepare_argmax(x, axis);
  Scope scope(*this, costs::argmax(x));
  const std::int64_t n = e.outer * e.inner, r = e.r, inner = e.inner;
  const int lanes = inner == 1 ? 32 : 1;
  if (n > 0)
    dispatch_activation(x.dtype(), "argmax", [&, &y = y]<class T>() {
      launch("argmax", argmax_middle<T>, team_grid(n, lanes), stream_, x, y, n, r, inner, lanes);
    });
  return y;
}

Tensor CudaBackend::norm(const std::vector<Tensor>& all) {
  Scope scope(*this, costs::norm(all));
  std::int64_t blocks = 0;
  for (const Tensor& x : all) blocks += parts_of(x.numel(), kNormChunk);
  const Tensor partials = empty({blocks}, DType::f64);
  Tensor result = empty({}, DType::f64);
  double* to = partials.data<double>();
  for (std::size_t next = 0; next < all.size();) {
    NormTable table{};
    const DType dtype = all[next].dtype();
    for (; next < all.size() && all[next].dtype() == dtype && !table.full(); ++next) {
      const Tensor& x = all[next];
      if (x.numel() > 0) table.add({x.raw(), x.numel()}, parts_of(x.numel(), kNormChunk));
    }
    if (table.blocks == 0) continue;
    dispatch_activation(dtype, "norm", [&]<class T>() {
      launch("sum_squares", sum_squares<T>, {dim3(table.blocks), dim3(kThreads)}, stream_, table,
             to);
    });
    to += table.blocks;
  }
  launch("root_of_sum", root_of_sum, {dim3(1), dim3(kThreads)}, stream_, partials, blocks, result);
  return result;
}

}  // namespace nextgrad::cuda
