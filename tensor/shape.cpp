#include "tensor/shape.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "tensor/error.h"

namespace nextgrad {

Shape::Shape(std::span<const std::int64_t> extents) {
  for (const std::int64_t extent : extents) push_back(extent);
}

void Shape::push_back(std::int64_t extent) {
  check(size_ < kMaxAxes, "a shape has at most {} axes", kMaxAxes);
  check(extent >= -1, "a shape has no extent of {}", extent);
  extents_[size_++] = extent;
}

std::int64_t Shape::numel() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : *this) {
    check(extent >= 0, "shape {} has a negative extent", *this);
    check(!__builtin_mul_overflow(product, extent, &product), "shape {} is too large", *this);
  }
  return product;
}

int Shape::axis(int a) const {
  const int resolved = a < 0 ? a + size_ : a;
  check(resolved >= 0 && resolved < size_, "axis {} is out of range for shape {}", a, *this);
  return resolved;
}

std::string Shape::str() const {
  return fmt::format("[{}]", fmt::join(begin(), end(), ","));
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  std::int64_t stride = 1;
  for (int a = shape.size() - 1; a >= 0; --a) {
    strides[a] = stride;
    // Only the strides of an empty tensor, which nobody uses, can be too large.
    if (__builtin_mul_overflow(stride, std::max<std::int64_t>(1, shape[a]), &stride)) stride = 1;
  }
  return strides;
}

Shape broadcast(const Shape& a, const Shape& b, const char* op) {
  const int axes = std::max(a.size(), b.size());
  Shape result;
  for (int i = 0; i < axes; ++i) {
    const int ia = i - (axes - a.size()), ib = i - (axes - b.size());
    const std::int64_t ea = ia < 0 ? 1 : a[ia], eb = ib < 0 ? 1 : b[ib];
    check(ea == eb || ea == 1 || eb == 1, "{}: shapes {} and {} do not broadcast together", op, a,
          b);
    result.push_back(ea == 1 ? eb : ea);
  }
  return result;
}

}  // namespace nextgrad
