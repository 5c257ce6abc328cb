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

// Makes `device` the one that this thread's kernels and allocations go to: CUDA keeps that by
// thread, and begins with device 0.
inline void use_device(int device) {
  thread_local int current = -1;
  if (current == device) return;
  cuda_check(cudaSetDevice(device), "choosing the device");
  current = device;
}

}  // namespace nextgrad::cuda
