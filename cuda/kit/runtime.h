// The CUDA runtime and cuBLASLt. In tests these headers are the emulation's (tests/cuda/emulation),
// which lets the same sources be compiled as C++ and run on any machine. Only files of cuda/
// include this.
#pragma once

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "tensor/error.h"

namespace nextgrad::cuda {

// Throws Error with CUDA's own words; `doing` says what was tried.
inline void cuda_check(cudaError_t status, const char* doing) {
  if (status != cudaSuccess)
    fail("CUDA: {}: {} ({})", doing, cudaGetErrorString(status), cudaGetErrorName(status));
}

// The device that this thread's kernels and allocations go to: CUDA keeps that by thread.
inline int& current_device() {
  thread_local int current = -1;  // none was asked for
  return current;
}
inline void use_device(int device) {
  int& current = current_device();
  if (current == device) return;
  cuda_check(cudaSetDevice(device), "choosing the device");
  current = device;
}

}  // namespace nextgrad::cuda
