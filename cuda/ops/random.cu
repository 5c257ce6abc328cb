// Random tensors: element i is word i % 4 of Philox block i / 4, a thread a block, so that they are
// those of every other device. Normals come in pairs (Box and Muller, 1958) from words 0, 1 and
// 2, 3. The stream's key is mixed on the device, as a replayed step draws for its own iteration.
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {
namespace {

struct Words {
  std::uint32_t at[4];
  __device__ __forceinline__ std::uint32_t operator[](int i) const { return at[i]; }
};

// Philox4x32-10, as in tensor/random.cpp.
__device__ __forceinline__ Words philox_block(Words c, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {{static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
          static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}
// Of a 64-bit counter, whose upper half goes to word 1.
__device__ __forceinline__ Words philox_block(std::uint64_t counter, std::uint32_t third,
                                              std::uint32_t fourth, std::uint64_t key) {
  return philox_block({{static_cast<std::uint32_t>(counter),
                        static_cast<std::uint32_t>(counter >> 32), third, fourth}},
                      key);
}

// RandomKey::mixed() of the iteration that is being replayed.
__device__ __forceinline__ std::uint64_t mixed_key(const RandomKey& key, const Progress* progress) {
  const Words c = philox_block(key.iteration + progress->iterations, key.use, key.sample, key.seed);
  return std::uint64_t{c[0]} | std::uint64_t{c[1]} << 32;
}

constexpr double kUnit = 1.0 / 16777216.0;  // 2^-24

struct Uniform {
  template <class C>
  __device__ __forceinline__ void operator()(const Words& words, C (&out)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = static_cast<C>(words[i] >> 8) * static_cast<C>(kUnit);
  }
};

struct Normal {
  // Two independent normals from two words; the first uniform lies in (0, 1].
  template <class C>
  __device__ __forceinline__ void operator()(const Words& words, C (&out)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const double radius = sqrt(-2.0 * log((words[i] >> 8) * kUnit + kUnit));
      const double angle = 2.0 * 3.14159265358979323846 * ((words[i + 1] >> 8) * kUnit);
      out[i] = static_cast<C>(radius * cos(angle));
      out[i + 1] = static_cast<C>(radius * sin(angle));
    }
  }
};

struct Mask {
  std::uint32_t below;  // dropped: words whose upper 24 bits are below it
  double kept;
  template <class C>
  __device__ __forceinline__ void operator()(const Words& words, C (&out)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = words[i] >> 8 < below ? C(0) : static_cast<C>(kept);
  }
};

template <class T, class Draw>
__global__ void generate(T* out, std::int64_t n, const RandomKey key, const Progress* progress,
                         Draw draw) {
  const std::uint64_t mixed = mixed_key(key, progress);
  for (std::int64_t b = global_index(); b < (n + 3) / 4; b += global_threads()) {
    const Words words = philox_block(static_cast<std::uint64_t>(b), 0, 0, mixed);
    Compute<T> values[4];
    draw(words, values);
    for (int i = 0; i < 4; ++i) {
      if (4 * b + i < n) out[4 * b + i] = narrow<T>(values[i]);
    }
  }
}

}  // namespace

template <class Draw>
Tensor CudaBackend::random(const char* name, const Shape& shape, DType dtype, const RandomKey& key,
                           const Draw& draw) {
  Tensor out = empty(shape, dtype);
  const std::int64_t n = out.numel();
  Scope scope(*this, name, 0, out.nbytes());
  if (n == 0) return out;
  dispatch_activation(dtype, name, [&]<class T>() {
    launch(name, generate<T, Draw>, grid_for(parts_of(n, 4), kThreads, 2048), stream_, out, n, key,
           progress_, draw);
  });
  return out;
}

Tensor CudaBackend::random_uniform(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_uniform", shape, dtype, key, Uniform{});
}

Tensor CudaBackend::random_normal(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_normal", shape, dtype, key, Normal{});
}

Tensor CudaBackend::dropout_mask(const Shape& shape, DType dtype, double p, const RandomKey& key) {
  check(p >= 0 && p <= 1, "dropout_mask: probability {} is outside [0, 1]", p);
  // word / 2^24 < p is word < p 2^24, exactly.
  const Mask mask{static_cast<std::uint32_t>(std::ceil(p / kUnit)), p < 1 ? 1 / (1 - p) : 0};
  return random("dropout_mask", shape, dtype, key, mask);
}

}  // namespace nextgrad::cuda
