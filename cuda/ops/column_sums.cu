// Column sums in two stages: a block takes 32 packs of columns by a share of the rows, its 8 warps
// every eighth row each; then their sums are added in double (partials.h).
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/partials.h"
#include "cuda/ops/column_sums.h"

namespace nextgrad::cuda {
namespace {

constexpr int kWarps = 8;

template <int N, class T>
__global__ void partial_sums_kernel(const T* x, Compute<T>* partial, std::int64_t rows,
                                    std::int64_t columns, std::int64_t rows_per_block) {
  const std::int64_t c = (static_cast<std::int64_t>(blockIdx.x) * 32 + threadIdx.x % 32) * N;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const std::int64_t begin = blockIdx.y * rows_per_block;
  const std::int64_t end = begin + rows_per_block < rows ? begin + rows_per_block : rows;
  Compute<T> sum[N] = {};
  if (c < columns) {
    for (std::int64_t r = begin + warp; r < end; r += kWarps) {
      Compute<T> v[N];
      load<N>(x + r * columns + c, v);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += v[k];
    }
  }
  auto* sums = shared_memory<Compute<T>>();  // [kWarps][32][N]
  for (int k = 0; k < N; ++k) sums[threadIdx.x * N + static_cast<unsigned>(k)] = sum[k];
  __syncthreads();
  if (warp != 0 || c >= columns) return;
  for (int k = 0; k < N; ++k) {
    Compute<T> total = 0;
    for (int w = 0; w < kWarps; ++w)
      total += sums[(static_cast<unsigned>(w) * 32 + threadIdx.x) * N + static_cast<unsigned>(k)];
    partial[blockIdx.y * columns + c + k] = total;
  }
}

}  // namespace

Tensor column_sums(CudaBackend& backend, cudaStream_t stream, const Tensor& x) {
  const std::int64_t rows = x.dim(0), columns = x.dim(1);
  const DType dtype = parameter_dtype(x.dtype());
  Tensor total = Tensor::empty({columns}, dtype, backend.device());
  if (columns == 0) return total;
  // At most 512 rows are summed in the partials' own precision by each warp.
  const std::int64_t parts = std::clamp<std::int64_t>((rows + 511) / 512, 1, 1024);
  const std::int64_t rows_per_block = (rows + parts - 1) / parts;
  Tensor partial = Tensor::empty({parts, columns}, dtype, backend.device());
  dispatch_activation(x.dtype(), "column_sums", [&](auto zero) {
    using T = decltype(zero);
    using P = Compute<T>;
    const auto go = [&](auto kernel, int n) {
      const dim3 blocks(static_cast<unsigned>((columns + 32 * n - 1) / (32 * n)),
                        static_cast<unsigned>(parts));
      launch("column_sums", kernel,
             Grid{blocks, dim3(32 * kWarps), sizeof(P) * 32 * kWarps * static_cast<std::size_t>(n)},
             stream, x.data<T>(), partial.data<P>(), rows, columns, rows_per_block);
    };
    const bool aligned = reinterpret_cast<std::uintptr_t>(x.raw()) % 16 == 0;
    if (aligned && columns % kPack<T> == 0) {
      go(partial_sums_kernel<kPack<T>, T>, kPack<T>);
    } else {
      go(partial_sums_kernel<1, T>, 1);
    }
    add_partials(stream, partial.data<P>(), static_cast<int>(parts), columns, columns,
                 total.data<P>());
  });
  return total;
}

}  // namespace nextgrad::cuda
