// Matrix products of the backend: batches of gemm(). Blocking: see gemm.h.

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/threads.h"

namespace nextgrad::cpu {

Tensor CpuPrimitives::matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const std::int64_t m = a.dim(transpose_a ? 2 : 1), k = a.dim(transpose_a ? 1 : 2);
  const std::int64_t n = b.dim(transpose_b ? 1 : 2);
  const std::int64_t batch = a.dim(0) == 1 ? b.dim(0) : a.dim(0);  // an empty one stays empty
  Tensor c = Tensor::empty({batch, m, n}, a.dtype());
  OpScope scope(costs::matmul(a, b, c, k));
  dispatch_float(a.dtype(), "matmul", [&]<class T>(T) {
    const T *pa = a.data<T>(), *pb = b.data<T>();
    T* pc = c.data<T>();
    const auto product = [&](std::int64_t i) {
      const T* left = pa + (a.dim(0) > 1 ? i * m * k : 0);
      MatrixView<T> right{pb + (b.dim(0) > 1 ? i * k * n : 0), n, 1};
      if (transpose_b) right = {right.data, 1, k};
      if (transpose_a) {
        gemm_over_pixels<T>(m, n, k, rows_of<T>({left, m, 1}), rows_of<T>(right), pc + i * m * n);
      } else {
        const Tensor panels = packed<T>(right, k, n);
        gemm<T>(m, n, k, rows_of<T>({left, k, 1}), panels.data<T>(), nullptr, pc + i * m * n, n);
      }
    };
    // A thread an image where they share out evenly: small products then need no meeting of
    // threads.
    if (batch % num_threads() == 0) {
      parallel_tasks(batch, product);
    } else {
      for (std::int64_t i = 0; i < batch; ++i) product(i);
    }
  });
  return c;
}

}  // namespace nextgrad::cpu
