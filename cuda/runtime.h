// The CUDA runtime and cuBLASLt, or the emulation of them (emulation/runtime.h) that lets the same
// sources be compiled as C++ and run on any machine. Only files of cuda/ include this.
#pragma once

#ifdef NEXTGRAD_EMULATE_CUDA
#include "cuda/emulation/cublaslt.h"
#include "cuda/emulation/runtime.h"
#else
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#endif

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
