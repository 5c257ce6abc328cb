// K tensors of one shape and any strides, with neighbouring axes merged where all strides allow:
// what a backend walks over.
#pragma once

#include <array>
#include <cstdint>

#include "tensor/shape.h"

namespace nextgrad {

// The merged axes, outermost first; at least one.
template <int K>
struct Strided {
  int axes = 0;
  std::array<std::int64_t, Shape::kMaxAxes> extent{};
  std::array<std::array<std::int64_t, Shape::kMaxAxes>, K> stride{};  // in elements
};

template <int K>
Strided<K> collapse(const Shape& shape, const std::array<Shape, K>& strides) {
  Strided<K> s;
  for (int axis = 0; axis < shape.size(); ++axis) {
    const std::int64_t n = shape[axis];
    if (n == 1) continue;
    bool merges = s.axes > 0;
    for (std::size_t k = 0; k < K && merges; ++k) {
      merges = s.stride[k][s.axes - 1] == strides[k][axis] * n;
    }
    if (!merges) ++s.axes;
    const auto at = static_cast<std::size_t>(s.axes - 1);
    s.extent[at] = merges ? s.extent[at] * n : n;
    for (std::size_t k = 0; k < K; ++k) s.stride[k][at] = strides[k][axis];
  }
  if (s.axes == 0) {
    s.axes = 1;
    s.extent[0] = 1;
    for (auto& stride : s.stride) stride[0] = 1;
  }
  return s;
}

}  // namespace nextgrad
