// Random tensors: element i is word i % 4 of Philox block i / 4, so that any split over threads
// gives the same numbers. Normals come in pairs (Box and Muller, 1958) from words 0, 1 and 2, 3.
#include "tensor/random.h"

#include <cmath>
#include <numbers>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {
namespace {

constexpr double kUnit = 1.0 / 16777216.0;  // 2^-24

double uniform(std::uint32_t word) {
  return (word >> 8) * kUnit;
}

// Two independent normals from two words; the first uniform lies in (0, 1].
void box_muller(std::uint32_t a, std::uint32_t b, double* z) {
  const double radius = std::sqrt(-2.0 * std::log((a >> 8) * kUnit + kUnit));
  const double angle = 2.0 * std::numbers::pi * uniform(b);
  z[0] = radius * std::cos(angle);
  z[1] = radius * std::sin(angle);
}

// out[i] = values[i % 4] for the values that fn(words, values) makes of block i / 4.
template <class T, class Fn>
void generate(T* out, std::int64_t n, const RandomKey& key, Fn fn) {
  const std::uint64_t mixed = key.mixed();
  parallel_each((n + 3) / 4, 4096, [&](std::int64_t b) {
    const PhiloxBlock words = philox(static_cast<std::uint64_t>(b), 0, 0, mixed);
    double values[4];
    fn(words, values);
    const std::int64_t count = std::min<std::int64_t>(4, n - 4 * b);
    for (std::int64_t i = 0; i < count; ++i) out[4 * b + i] = static_cast<T>(values[i]);
  });
}

template <class Fn>
Tensor random(const char* name, const Shape& shape, DType dtype, const RandomKey& key, Fn fn) {
  Tensor out = Tensor::empty(shape, dtype);
  OpScope scope(name, 0, out.nbytes());
  dispatch_float(dtype, name,
                 [&](auto zero) { generate(out.data<decltype(zero)>(), out.numel(), key, fn); });
  return out;
}

}  // namespace

Tensor CpuPrimitives::random_uniform(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_uniform", shape, dtype, key, [](const auto& words, double* values) {
    for (std::size_t i = 0; i < 4; ++i) values[i] = uniform(words[i]);
  });
}

Tensor CpuPrimitives::random_normal(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_normal", shape, dtype, key, [](const auto& words, double* values) {
    box_muller(words[0], words[1], values);
    box_muller(words[2], words[3], values + 2);
  });
}

Tensor CpuPrimitives::dropout_mask(const Shape& shape, DType dtype, double p,
                                   const RandomKey& key) {
  check(p >= 0 && p <= 1, "dropout_mask: probability {} is outside [0, 1]", p);
  const double kept = p < 1 ? 1 / (1 - p) : 0;
  return random("dropout_mask", shape, dtype, key, [=](const auto& words, double* values) {
    for (std::size_t i = 0; i < 4; ++i) values[i] = uniform(words[i]) < p ? 0 : kept;
  });
}

}  // namespace nextgrad::cpu
