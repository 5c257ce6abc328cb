// CUDA's execution model on a CPU, for tests where there is no GPU: kernels are ordinary functions,
// launched block after block; the threads of a block are fibres that run until they meet a barrier
// or a warp operation. What the sources of cuda/ use of the language and the runtime is here, and
// no more.
//
// What it catches, under AddressSanitizer and UBSan: reads and writes outside a tensor or outside
// shared memory. Under ThreadSanitizer: races (order.h). Always: reads of device memory that
// nothing wrote (it is filled with NaN), packs at addresses that are no multiple of their size, a
// barrier that some threads of the block never reach, a stream that a capture forks and does not
// join, a result that depends on the order of threads between two barriers (they run forwards and
// backwards in turn) or on the order of blocks; of two devices, a launch on the stream of one that
// is not current, and memory of the other one. What it can't catch: limits of registers; anything
// about time; the rounding of fused operations, tensor cores and approximate intrinsics; misaligned
// addresses of what load() and store() of kernel.h do not touch, where UBSan is off.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static thread_local  // all threads of a block run on one thread of the CPU
#ifndef __align__
#define __align__(n) alignas(n)
#endif

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// --- the runtime ---
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorStreamCaptureUnjoined = 904
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount, warpSize, l2CacheSize;
  std::size_t totalGlobalMem, sharedMemPerBlockOptin;
  cudaUUID_t uuid;
};
namespace nextgrad::emulation {
struct Stream;
struct Event;
struct Graph;
}  // namespace nextgrad::emulation
using cudaStream_t = nextgrad::emulation::Stream*;
using cudaEvent_t = nextgrad::emulation::Event*;
using cudaGraph_t = nextgrad::emulation::Graph*;
using cudaGraphExec_t = nextgrad::emulation::Graph*;

const char* cudaGetErrorString(cudaError_t status);
const char* cudaGetErrorName(cudaError_t status);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
// As if of 2048 threads a multiprocessor, whatever the kernel is.
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int threads,
                                                          std::size_t) {
  *blocks = 2048 / threads;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total);
cudaError_t cudaMalloc(void** block, std::size_t bytes);
cudaError_t cudaFree(void* block);
cudaError_t cudaMallocHost(void** block, std::size_t bytes);
cudaError_t cudaFreeHost(void* block);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);

namespace nextgrad::emulation {

// For tests of what can go wrong.
struct Troubles {
  int driver = 13000;
  int devices = 1;
  std::atomic<cudaError_t> of_kernels = cudaSuccess;  // of the next synchronisation of a stream
  int refused_products = 0;  // so many that cuBLASLt's heuristic has promised
};
Troubles& troubles();

// A call and what it needs. No std::function: in what a stream calls only the kernels are to be
// seen by ThreadSanitizer.
struct Work {
  void (*call)(void* data) = nullptr;
  void (*destroy)(void* data) = nullptr;
  void* data = nullptr;
};
#define NEXTGRAD_UNSEEN __attribute__((no_sanitize_thread))
template <class Fn>
Work work_of(Fn fn) {
  return {[](void* data) NEXTGRAD_UNSEEN { (*static_cast<Fn*>(data))(); },
          [](void* data) NEXTGRAD_UNSEEN { delete static_cast<Fn*>(data); }, new Fn(std::move(fn))};
}
// Does it now, or adds it to the graph that `stream` is captured into; destroys it.
void submit(cudaStream_t stream, const Work& work);
template <class Fn>
requires(!std::is_same_v<Fn, Work>) void submit(cudaStream_t stream, Fn fn) {
  submit(stream, work_of(std::move(fn)));
}
// Calls `thread` for every thread of every block of `kernel`. Throws Error for a barrier that not
// all reach.
void run(const char* name, const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes,
         void (*thread)(const void* data), const void* data);
// Whether the stream belongs to the device that is current (the default stream does); if not, that
// is the error of cudaGetLastError().
bool is_current(cudaStream_t stream);
// Throws Error if among these bytes, an argument, is an address of a device that the stream is not
// of.
void check_memory(const char* name, const void* argument, std::size_t bytes, cudaStream_t stream);
// Submits a kernel.
template <class... Parameters>
void start(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
           std::size_t shared_bytes, cudaStream_t stream,
           const std::type_identity_t<Parameters>&... arguments) {
  if (!is_current(stream)) return;
  (check_memory(name, &arguments, sizeof arguments, stream), ...);
  const auto thread = [=]() NEXTGRAD_UNSEEN { kernel(arguments...); };
  submit(stream, [=]() NEXTGRAD_UNSEEN {
    const auto call = [](const void* data)
                          NEXTGRAD_UNSEEN { (*static_cast<decltype(thread)*>(data))(); };
    run(name, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, call, &thread);
  });
}
void* shared();                                // this block's dynamic shared memory
void barrier(int vote, int* any, int* count);  // __syncthreads and its votes
// A warp's exchange: lane `from` gives `value` (at most 8 bytes); returns what each of 32 lanes
// gave. `orders`: memory, too, among those lanes.
const std::uint64_t* exchange(unsigned mask, std::uint64_t value, unsigned* active,
                              bool orders = false);
int lane();
void fence();  // __threadfence: what comes after one comes after all before it
// A kernel reads or writes so many bytes at once: run() throws if the address is no multiple of
// them.
void note_access(const void* address, std::size_t bytes);

// The memory of [block, block + bytes) may (not) be touched from now on; fresh memory holds NaN.
void poison(void* block, std::size_t bytes);
void unpoison(void* block, std::size_t bytes);

template <class T>
T shuffled(unsigned mask, T value, int from) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  unsigned active = 0;
  const std::uint64_t* all = exchange(mask, bits, &active);
  T result = value;
  if (from >= 0 && from < 32 && (active >> from & 1u) != 0)
    std::memcpy(&result, &all[from], sizeof(T));
  return result;
}

}  // namespace nextgrad::emulation

// --- the language ---
inline void __syncthreads() {
  nextgrad::emulation::barrier(0, nullptr, nullptr);
}
inline int __syncthreads_or(int p) {
  int any = 0;
  nextgrad::emulation::barrier(p, &any, nullptr);
  return any;
}
inline int __syncthreads_count(int p) {
  int count = 0;
  nextgrad::emulation::barrier(p, nullptr, &count);
  return count;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  unsigned active = 0;
  nextgrad::emulation::exchange(mask, 0, &active, true);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return nextgrad::emulation::shuffled(mask, value, from & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return nextgrad::emulation::shuffled(mask, value, nextgrad::emulation::lane() ^ bits);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  return nextgrad::emulation::shuffled(mask, value,
                                       nextgrad::emulation::lane() + static_cast<int>(by));
}
inline unsigned __ballot_sync(unsigned mask, int p) {
  unsigned active = 0, votes = 0;
  const std::uint64_t* all =
      nextgrad::emulation::exchange(mask, static_cast<std::uint64_t>(p != 0), &active);
  for (unsigned i = 0; i < 32; ++i)
    if ((active >> i & 1u) != 0 && all[i] != 0) votes |= 1u << i;
  return votes;
}
inline int __any_sync(unsigned mask, int p) {
  return __ballot_sync(mask, p) != 0;
}
inline int __all_sync(unsigned mask, int p) {
  return __ballot_sync(mask, !p) == 0;
}

// Atomics order nothing but themselves.
template <class T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange(at, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <class T, class Fn>
T atomic_update(T* at, const Fn& fn) {
  T before;
  __atomic_load(at, &before, __ATOMIC_RELAXED);
  for (T after = fn(before);
       !__atomic_compare_exchange(at, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);)
    after = fn(before);
  return before;
}
template <class T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  return atomic_update(at, [=](T before) { return before + value; });
}
inline unsigned atomicInc(unsigned* at, unsigned most) {
  return atomic_update(at, [=](unsigned before) { return before >= most ? 0 : before + 1; });
}
inline void __threadfence() {
  nextgrad::emulation::fence();
}
template <class T>
T __ldg(const T* at) {
  return *at;
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float __uint_as_float(unsigned u) {
  float f;
  std::memcpy(&f, &u, sizeof f);
  return f;
}
inline unsigned __float_as_uint(float f) {
  unsigned u;
  std::memcpy(&u, &f, sizeof u);
  return u;
}
inline int __popc(unsigned u) {
  return __builtin_popcount(u);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}
