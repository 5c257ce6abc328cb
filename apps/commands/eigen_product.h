// Eigen's matrix product, the yardstick of `segnext bench gemm`, compiled for each instruction set
// as our kernels are (cpu_level()).
#pragma once

#include <cstdint>

namespace nextgrad {

// c [m,n] = a [m,k] b^T, b [n,k], all rows one after another; numbers are doubles, or floats.
struct EigenProduct {
  std::int64_t m, n, k;
  bool doubles;
  const void *a, *b;
  void* c;
  int threads;
};
void multiply_by_eigen(const EigenProduct& p);

}  // namespace nextgrad
