// What kernels share: arithmetic types, packs of 16 bytes, sums over warps and blocks, loops over
// indices. Activations come as float, double or bfloat16; arithmetic, parameters and statistics of
// bfloat16 are float.
#pragma once

#include <cstdint>

#include "cuda/kit/runtime.h"
#include "tensor/dtype.h"

namespace nextgrad::cuda {

// The type in which T is computed, and in which T's parameters are kept.
template <class T>
struct ComputeOf {
  using type = T;
};
template <>
struct ComputeOf<bfloat16> {
  using type = float;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

template <class T>
__device__ __forceinline__ Compute<T> widen(T x) {
  return x;
}
__device__ __forceinline__ float widen(bfloat16 x) {
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
// To T, rounded to nearest even.
template <class T, class From>
__device__ __forceinline__ T narrow(From x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    bfloat16 result;
#ifdef __CUDA_ARCH__
    result.bits = __bfloat16_as_ushort(__float2bfloat16_rn(static_cast<float>(x)));
#else
    const unsigned u = __float_as_uint(static_cast<float>(x));
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    result.bits =
        static_cast<std::uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
    return result;
  } else {
    return static_cast<T>(x);
  }
}

// Calls fn(i) for i = 0 to N - 1, or fn(i, j, ...) for all places of N x Rest..., unrolled: what it
// indexes can stay in registers.
template <int N, int... Rest, class Fn>
__device__ __forceinline__ void unroll(Fn&& fn) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if constexpr (sizeof...(Rest) == 0)
      fn(i);
    else
      unroll<Rest...>([&](auto... rest) { fn(i, rest...); });
  }
}

// N numbers that are read and written as one; N * sizeof(T) is 2 to 16 bytes and the address a
// multiple of it.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
// How many T fill the widest access, 16 bytes.
template <class T>
constexpr int kPack = static_cast<int>(16 / sizeof(T));

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* from) {
#ifdef NEXTGRAD_EMULATE_CUDA
  Pack<T, N> pack;
  emulation::note_access(from, sizeof pack);
  std::memcpy(static_cast<void*>(&pack), from, sizeof pack);
  return pack;
#else
  return *reinterpret_cast<const Pack<T, N>*>(from);
#endif
}
template <int N, class T>
__device__ __forceinline__ void load(const T* from, Compute<T> (&to)[N]) {
  const Pack<T, N> pack = load_pack<N>(from);
  unroll<N>([&](int i) { to[i] = widen(pack.at[i]); });
}
template <int N, class T>
__device__ __forceinline__ void store(T* to, const Compute<T> (&from)[N]) {
  Pack<T, N> pack;
  unroll<N>([&](int i) { pack.at[i] = narrow<T>(from[i]); });
#ifdef NEXTGRAD_EMULATE_CUDA
  emulation::note_access(to, sizeof pack);
  std::memcpy(static_cast<void*>(to), &pack, sizeof pack);
#else
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
#endif
}

// The block's dynamic shared memory, 16-byte aligned.
template <class T>
__device__ __forceinline__ T* shared_memory() {
#ifdef NEXTGRAD_EMULATE_CUDA
  return static_cast<T*>(emulation::shared());
#else
  extern __shared__ __align__(16) unsigned char nextgrad_shared[];
  return reinterpret_cast<T*>(nextgrad_shared);
#endif
}

// This thread's number in a grid of one dimension, and the number of all threads.
__device__ __forceinline__ std::int64_t global_index() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::int64_t global_threads() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

constexpr unsigned kAllLanes = 0xffffffffu;

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {  // NaN wins
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

// Combines the values of a warp; every lane gets the result. The order is fixed.
template <class T, class Op = Sum>
__device__ __forceinline__ T warp_reduce(T value, Op op = {}) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    value = op(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

// Combines the values of a block of one dimension, a multiple of 32 threads, at most 1024; every
// thread gets the result. `scratch`: 32 elements of shared memory, free again afterwards.
template <class T, class Op = Sum>
__device__ __forceinline__ T block_reduce(T value, T* scratch, Op op = {}) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = static_cast<int>(blockDim.x / 32);
  value = warp_reduce(value, op);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = scratch[lane < warps ? lane : 0];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const T other = __shfl_down_sync(kAllLanes, value, static_cast<unsigned>(step));
    if (lane + step < warps) value = op(value, other);
  }
  value = __shfl_sync(kAllLanes, value, 0);
  __syncthreads();
  return value;
}

// Whether this block is the last of so many that share `counter`, which is 0 before and after: it
// may then read what the others wrote before they came here. For all threads of the block, once.
__device__ __forceinline__ bool last_to_arrive(unsigned* counter, unsigned blocks) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    __threadfence();
    last = atomicInc(counter, blocks - 1) == blocks - 1;  // which makes it 0 again
    if (last) __threadfence();
  }
  __syncthreads();
  return last;
}

// Items that one launch works on, as a kernel's argument: blocks from first_block[i] on are those
// of item i.
template <class Item, int Most>
struct BlockTable {
  Item of[Most];
  int first_block[Most];
  int items, blocks;

  bool full() const { return items == Most; }
  void add(const Item& item, std::int64_t its_blocks) {
    first_block[items] = blocks;
    of[items++] = item;
    blocks += static_cast<int>(its_blocks);
  }
  // The item that a block works for.
  __device__ __forceinline__ int owner_of(int block) const {
    int low = 0, high = items;  // the last whose first block is not after this one
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_block[middle] <= block ? low : high) = middle;
    }
    return low;
  }
};

// GELU by the error function (Hendrycks and Gimpel, 2016), and its slope.
template <class T>
__device__ __forceinline__ T normal_cdf(T x) {
  return T(0.5) * (T(1) + std::erf(x * T(0.70710678118654752440)));
}
template <class T>
__device__ __forceinline__ T gelu(T x) {
  return x * normal_cdf(x);
}
template <class T>
__device__ __forceinline__ T gelu_slope(T x) {
  return normal_cdf(x) + x * T(0.39894228040143267794) * std::exp(T(-0.5) * x * x);
}

}  // namespace nextgrad::cuda
