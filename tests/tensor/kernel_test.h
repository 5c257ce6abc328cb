// What the kernel tests share: random tensors, and the worst difference from plain loops in double.
#pragma once

#include <doctest/doctest.h>

#include <vector>

#include "tensor/backend.h"
#include "tensor/random.h"
#include "tensor/threads.h"
#include "tests/compare.h"
#include "tests/device.h"

namespace nextgrad::test {

using Doubles = std::vector<double>;

// The backend under test: see tests/device.h.
inline Backend& tested() {
  return backend_of(test_device());
}
inline std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

// Uniform numbers in [lo, hi).
template <class T>
Tensor random_tensor(const Shape& shape, std::uint64_t seed, double lo = -2, double hi = 2) {
  RandomStream stream(RandomKey{seed, 0, 0, 0});
  std::vector<T> v(at(shape.numel()));
  for (T& x : v) x = static_cast<T>(stream.uniform(lo, hi));
  return Tensor::from(v, shape, test_device());
}

// Labels in [0, classes), about one in ten of them `ignore`.
inline Tensor random_labels(const Shape& shape, std::uint64_t seed, std::int64_t classes,
                            std::int32_t ignore) {
  RandomStream stream(RandomKey{seed, 0, 1, 0});
  std::vector<std::int32_t> v(at(shape.numel()));
  for (auto& x : v) {
    x = stream.chance(0.1)
            ? ignore
            : static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(classes)));
  }
  return Tensor::from(v, shape, test_device());
}

template <class T>
Tensor scalar(double value) {
  return Tensor::scalar(value, dtype_of<T>, test_device());
}

inline Doubles numbers(const Tensor& t) {
  return t.to_vector<double>();
}

// compare.h's measure.
inline double worst(const Tensor& got, const Doubles& want, Nan nan = Nan::wrong) {
  return difference(numbers(got), want, nan);
}
inline double worst(const Tensor& got, const Tensor& want) {
  return difference(got, want);
}

template <class T>
constexpr double tolerance() {
  return std::is_same_v<T, float> ? 2e-5 : 1e-12;
}

// Runs fn with 1 and with 3 threads and returns both results.
template <class Fn>
auto with_threads(Fn&& fn) {
  const int before = num_threads();
  set_num_threads(1);
  auto one = fn();
  set_num_threads(3);
  auto three = fn();
  set_num_threads(before);
  return std::pair(one, three);
}

}  // namespace nextgrad::test
