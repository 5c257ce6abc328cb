// Matrix products through cuBLASLt.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>

#include "cuda/kit/runtime.h"
#include "tensor/dtype.h"

namespace nextgrad::cuda {

// A product of row-major matrices, or of `batch` of them at a time:
// C [m, n] (+)= op(A) op(B) (+ bias [n] in each row), op(A) [m, k], op(B) [k, n].
// A and B have dtype `in`, C `out`: f32, f64, bf16; bf16 gives bf16 or f32. Accumulates in f32
// (f64 in f64).
struct Product {
  std::int64_t m, n, k;
  const void *a, *b;
  void* c;
  bool transpose_a = false, transpose_b = false;  // stored [k, m]; [n, k]
  DType in = DType::f32, out = DType::f32;
  std::int64_t lda = 0, ldb = 0, ldc = 0;  // elements from row to row as stored; 0: dense
  std::int64_t batch = 1;
  std::int64_t stride_a = 0, stride_b = 0, stride_c = 0;  // elements; 0: the same for all
  bool add = false;            // to what is in C
  const void* bias = nullptr;  // of dtype `out`, as cuBLASLt wants it; with a batch of one

  auto operator<=>(const Product&) const = default;
};

class Gemm {
 public:
  explicit Gemm(cudaStream_t stream);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void run(Product p);
  bool tf32 = false;  // f32 products on tensor cores, from inputs rounded to 10 bits

 private:
  struct Plan;        // descriptors and the algorithm for one kind of product
  struct Key {        // what tells kinds apart
    Product product;  // without addresses
    bool tf32;
    std::array<std::uint32_t, 4> alignments;  // of A, B, C and the bias
    auto operator<=>(const Key&) const = default;
  };
  Plan& plan(const Product& p);

  cudaStream_t stream_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace nextgrad::cuda
