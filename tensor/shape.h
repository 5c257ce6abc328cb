// Extents of a tensor: up to 8 axes, held inline.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace nextgrad {

class Shape {
 public:
  static constexpr int kMaxAxes = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents)
      : Shape(std::span<const std::int64_t>(extents.begin(), extents.size())) {}
  // Throws over kMaxAxes, or below -1 (which stands for the extent that reshape() finds).
  explicit Shape(std::span<const std::int64_t> extents);

  int size() const { return size_; }  // number of axes
  // Unchecked: 0 <= axis < size(). axis() resolves and checks.
  std::int64_t operator[](int axis) const { return extents_[axis]; }
  std::int64_t& operator[](int axis) { return extents_[axis]; }
  std::int64_t numel() const;           // product; 1 for a scalar; throws on overflow or below 0
  int axis(int a) const;                // resolves negative axes; throws out of range
  void push_back(std::int64_t extent);  // throws likewise
  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + size_; }
  bool operator==(const Shape& other) const = default;
  std::string str() const;  // "[2,64,64,3]"

 private:
  std::array<std::int64_t, kMaxAxes> extents_{};
  int size_ = 0;
};

Shape contiguous_strides(const Shape& shape);  // row-major, in elements
// NumPy's rule; throws, in the name of `op`, where it fails.
Shape broadcast(const Shape& a, const Shape& b, const char* op = "broadcast");

}  // namespace nextgrad

// So that a check's message costs nothing while all is well.
template <>
struct fmt::formatter<nextgrad::Shape> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const nextgrad::Shape& shape, Context& context) const {
    return fmt::formatter<std::string_view>::format(shape.str(), context);
  }
};
