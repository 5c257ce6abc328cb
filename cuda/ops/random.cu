// Random tensors: element i is word i % 4 of Philox block i / 4, a thread a block, so that they are
// those of every other device. Normals come in pairs (Box and Muller, 1958) from words 0, 1 and
// 2, 3. The stream's key is mixed on the device, as a replayed step draws for its own iteration.
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {
namespace {

constexpr double kUnit = 1.0 / 16777216.0;  // 2^-24

struct Uniform {
  template <class C>
  __device__ __forceinline__ void operator()(const PhiloxBlock& words, C (&out)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = static_cast<C>(words[i] >> 8) * static_cast<C>(kUnit);
  }
};

struct Normal {
  // Two independent normals from two words; the first uniform lies in (0, 1].
  template <class C>
  __device__ __forceinline__ void operator()(const PhiloxBlock& words, C (&out)[4]) const {
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
  __device__ __forceinline__ void operator()(const PhiloxBlock& words, C (&out)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = words[i] >> 8 < below ? C(0) : static_cast<C>(kept);
  }
};

template <class T, class Draw>
__global__ void generate(T* out, std::int64_t n, const RandomKey key, const Progress* progress,
                         Draw draw) {
  RandomKey now = key;  // of the iteration that is being replayed
  now.iteration += progress->iterations;
  const std::uint64_t mixed = now.mixed();
  for (std::int64_t b = global_index(); b < (n + 3) / 4; b += global_threads()) {
    const PhiloxBlock words = philox(static_cast<std::uint64_t>(b), 0, 0, mixed);
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
