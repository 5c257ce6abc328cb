// Matrix products of the backend: batches of gemm(). Blocking: see gemm.h.

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/threads.h"

namespace nextgrad::cpu {

namespace {

struct Panels;

// One of a batch, C = A B or A^T B. `alone`: by this thread, beside others that do other images; it
// takes its panels from memory of its own, lest they all wait for the allocator.
template <class T>
void product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, bool transpose_a,
             MatrixView<T> b, T* c, bool alone) {
  if (transpose_a) return gemm_over_pixels<T>(m, n, k, rows_of<T>({a, m, 1}), rows_of<T>(b), c);
  const RowBlocks<T> rows = rows_of<T>({a, k, 1});
  if (!alone) return gemm<T>(m, n, k, rows, packed<T>(b, k, n).template data<T>(), nullptr, c, n);
  T* panels = scratch<Panels, T>(packed_size<T>(k, n));
  pack(b, k, n, panels);
  gemm<T>(m, n, k, rows, panels, nullptr, c, n);
}

}  // namespace

Tensor CpuPrimitives::matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const std::int64_t m = a.dim(transpose_a ? 2 : 1), k = a.dim(transpose_a ? 1 : 2);
  const std::int64_t n = b.dim(transpose_b ? 1 : 2);
  const std::int64_t batch = a.dim(0) == 1 ? b.dim(0) : a.dim(0);  // an empty one stays empty
  Tensor c = Tensor::empty({batch, m, n}, a.dtype());
  OpScope scope(costs::matmul(a, b, c, k));
  dispatch_float(a.dtype(), "matmul", [&]<class T>(T) {
    const T *pa = a.data<T>(), *pb = b.data<T>();
    // A thread an image where they share out evenly: small products then need no meeting of
    // threads.
    const bool alone = batch % num_threads() == 0;
    const auto image = [&](std::int64_t i) {
      const T* right = pb + (b.dim(0) > 1 ? i * k * n : 0);
      product(m, n, k, pa + (a.dim(0) > 1 ? i * m * k : 0), transpose_a,
              transpose_b ? MatrixView<T>{right, 1, k} : MatrixView<T>{right, n, 1},
              c.data<T>() + i * m * n, alone);
    };
    if (alone) {
      parallel_tasks(batch, image);
    } else {
      for (std::int64_t i = 0; i < batch; ++i) image(i);
    }
  });
  return c;
}

}  // namespace nextgrad::cpu
