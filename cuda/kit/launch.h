// The one way to start a kernel: launch("name", kernel, {grid, block, shared bytes}, stream,
// arguments...).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cuda/kit/runtime.h"

namespace nextgrad::cuda {

struct Grid {
  dim3 blocks, threads;
  std::size_t shared_bytes = 0;
};

constexpr int kThreads = 256;  // of a block, where nothing speaks for another number

// Enough blocks of `threads` for n items; kernels of more than `most` blocks' items loop
// (for_each_index).
inline Grid grid_for(std::int64_t n, int threads = kThreads, std::int64_t most = 1 << 20) {
  const std::int64_t blocks = std::clamp<std::int64_t>((n + threads - 1) / threads, 1, most);
  return {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads))};
}

#ifdef NEXTGRAD_EMULATE_CUDA
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Grid& g, cudaStream_t stream,
            Arguments... arguments) {
  emulation::submit(stream, [=] {
    emulation::run(name, g.blocks, g.threads, g.shared_bytes,
                   [&] { kernel(Parameters(arguments)...); });
  });
}
#else
// More than 48 KiB of shared memory must be asked for, kernel by kernel.
void allow_shared_bytes(const void* kernel, std::size_t bytes);

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Grid& g, cudaStream_t stream,
            Arguments... arguments) {
  if (g.shared_bytes > (std::size_t{48} << 10))
    allow_shared_bytes(reinterpret_cast<const void*>(kernel), g.shared_bytes);
  // clang-format off
  kernel<<<g.blocks, g.threads, g.shared_bytes, stream>>>(Parameters(arguments)...);
  // clang-format on
  cuda_check(cudaGetLastError(), name);
}
#endif

}  // namespace nextgrad::cuda
