// The one way to start a kernel: launch("name", kernel, {blocks, threads, shared bytes}, stream,
// arguments...). Of a tensor a kernel gets the numbers, or null if it is undefined.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <type_traits>

#include "cuda/kit/runtime.h"
#include "tensor/profile.h"
#include "tensor/tensor.h"

namespace nextgrad::cuda {

struct Grid {
  dim3 blocks, threads;
  std::size_t shared_bytes = 0;  // at most 48 KiB
};

constexpr int kThreads = 256;  // of a block, where nothing speaks for another number

// How many parts of `size` hold n.
constexpr std::int64_t parts_of(std::int64_t n, std::int64_t size) {
  return (n + size - 1) / size;
}

// Enough blocks of `threads` for n items; kernels of more than `most` blocks' items loop.
inline Grid grid_for(std::int64_t n, int threads = kThreads, std::int64_t most = 1 << 20) {
  return {dim3(std::clamp<std::int64_t>(parts_of(n, threads), 1, most)), dim3(threads)};
}

// So many blocks of a kernel run at once on a device of so many multiprocessors: a grid of more of
// them ends in a round that does not fill it.
template <class... Parameters>
int blocks_at_once(void (*kernel)(Parameters...), int threads, std::size_t shared_bytes,
                   int processors) {
  int each = 0;
  cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, shared_bytes),
             "counting blocks");
  return std::max(1, each) * processors;
}

template <class Parameter, class Argument>
Parameter argument_for(const char* name, const Argument& a) {
  if constexpr (std::is_same_v<Argument, Tensor>) {
    if (!a.defined()) return nullptr;
    // What reads another device's memory ends all work on this one.
    const Device own{Device::Kind::cuda, current_device()};
    check(a.device() == own, "{}: inputs are on {} and {}; move one with to()", name, own,
          a.device());
    return a.template data<std::remove_const_t<std::remove_pointer_t<Parameter>>>();
  } else {
    return Parameter(a);
  }
}

// Whether launch() waits for each kernel, so that an error is told under the name of the one that
// made it: if NEXTGRAD_CUDA_SYNC is set. Not while a graph is captured.
inline bool& waits_for_kernels() {
  static bool waits = std::getenv("NEXTGRAD_CUDA_SYNC") != nullptr;
  return waits;
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Grid& g, cudaStream_t stream,
            const Arguments&... arguments) {
  note_launch();
#ifdef NEXTGRAD_EMULATE_CUDA
  emulation::start(name, kernel, g.blocks, g.threads, g.shared_bytes, stream,
                   argument_for<Parameters>(name, arguments)...);
#else
  // clang-format off
  kernel<<<g.blocks, g.threads, g.shared_bytes, stream>>>(
      argument_for<Parameters>(name, arguments)...);
  // clang-format on
#endif
  cuda_check(cudaGetLastError(), name);
  if (!waits_for_kernels()) return;
  cudaStreamCaptureStatus captured = cudaStreamCaptureStatusNone;
  cuda_check(cudaStreamIsCapturing(stream, &captured), name);
  if (captured == cudaStreamCaptureStatusNone) cuda_check(cudaStreamSynchronize(stream), name);
}

}  // namespace nextgrad::cuda
