// Random tensors: element i is word i % 4 of Philox block i / 4, a thread a block, so that they are
// those of every other device. Normals come in pairs (Box and Muller, 1958) from words 0, 1 and
// 2, 3. The stream's key is mixed on the device, as a replayed step draws for its own iteration.
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {
namespace {

// Philox4x32-10, as in tensor/random.cpp.
__device__ __forceinline__ void philox_block(std::uint32_t (&c)[4], std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c[0] = static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0;
    c[1] = static_cast<std::uint32_t>(p1);
    c[2] = static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1;
    c[3] = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// RandomKey::mixed() of the iteration that is being replayed.
__device__ __forceinline__ std::uint64_t mixed_key(const RandomKey& key, const Progress* progress) {
  const std::uint64_t iteration = key.iteration + progress->iterations;
  std::uint32_t c[4] = {static_cast<std::uint32_t>(iteration),
                        static_cast<std::uint32_t>(iteration >> 32), key.use, key.sample};
  philox_block(c, key.seed);
  return std::uint64_t{c[0]} | std::uint64_t{c[1]} << 32;
}

constexpr double kUnit = 1.0 / 16777216.0;  // 2^-24

struct Uniform {
  template <class C>
  __device__ __forceinline__ void operator()(const std::uint32_t (&words)[4], C (&out)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = static_cast<C>(words[i] >> 8) * static_cast<C>(kUnit);
  }
};

struct Normal {
  // Two independent normals from two words; the first uniform lies in (0, 1].
  template <class C>
  __device__ __forceinline__ void operator()(const std::uint32_t (&words)[4], C (&out)[4]) const {
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
  __device__ __forceinline__ void operator()(const std::uint32_t (&words)[4], C (&out)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = words[i] >> 8 < below ? C(0) : static_cast<C>(kept);
  }
};

template <class T, class Draw>
__global__ void generate(T* out, std::int64_t n, const RandomKey key, const Progress* progress,
                         Draw draw) {
  const std::uint64_t mixed = mixed_key(key, progress);
  for (std::int64_t b = global_index(); b < (n + 3) / 4; b += global_threads()) {
    const auto u = static_cast<std::uint64_t>(b);
    std::uint32_t words[4] = {static_cast<std::uint32_t>(u), static_cast<std::uint32_t>(u >> 32), 0,
                              0};
    philox_block(words, mixed);
    Compute<T> values[4];
    draw(words, values);
    for (int i = 0; i < 4; ++i) {
      if (4 * b + i < n) out[4 * b + i] = narrow<T>(values[i]);
    }
  }
}

template <class Draw>
void fill_random(const char* name, Tensor& out, const RandomKey& key, const Progress* progress,
                 const Draw& draw, cudaStream_t stream) {
  const std::int64_t n = out.numel();
  if (n == 0) return;
  dispatch_activation(out.dtype(), name, [&](auto zero) {
    using T = decltype(zero);
    launch(name, generate<T, Draw>, grid_for((n + 3) / 4, kThreads, 2048), stream, out.data<T>(), n,
           key, progress, draw);
  });
}

}  // namespace

Tensor CudaBackend::random_uniform(const Shape& shape, DType dtype, const RandomKey& key) {
  Tensor out = empty(shape, dtype);
  Scope scope(*this, "random_uniform", 0, static_cast<double>(out.nbytes()));
  fill_random("random_uniform", out, key, progress_, Uniform{}, stream_);
  return out;
}

Tensor CudaBackend::random_normal(const Shape& shape, DType dtype, const RandomKey& key) {
  Tensor out = empty(shape, dtype);
  Scope scope(*this, "random_normal", 0, static_cast<double>(out.nbytes()));
  fill_random("random_normal", out, key, progress_, Normal{}, stream_);
  return out;
}

Tensor CudaBackend::dropout_mask(const Shape& shape, DType dtype, double p, const RandomKey& key) {
  check(p >= 0 && p <= 1, "dropout_mask: probability {} is outside [0, 1]", p);
  Tensor out = empty(shape, dtype);
  Scope scope(*this, "dropout_mask", 0, static_cast<double>(out.nbytes()));
  // word / 2^24 < p is word < p 2^24, exactly.
  const Mask mask{static_cast<std::uint32_t>(std::ceil(p / kUnit)), p < 1 ? 1 / (1 - p) : 0};
  fill_random("dropout_mask", out, key, progress_, mask, stream_);
  return out;
}

}  // namespace nextgrad::cuda
