// How numbers lie in a file of weights: more types than a Tensor has, each with its place in
// memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace nextgrad {

enum class ElementType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  u16,
  u32
};

constexpr std::uint64_t kMaxElements = 1ull << 40;  // of a tensor: more is a damaged file

struct ElementFormat {
  ElementType type;
  const char* name;         // "f16", as users write it
  const char* safetensors;  // "F16"
  const char* torch;        // "float16": PyTorch's torch.float16
  const char* storage;      // "HalfStorage"; nullptr: PyTorch has none of its own for it
  std::uint64_t bytes;      // of one element in the file
  DType memory;             // holds every value exactly
  Tensor (*decode)(const std::uint8_t* data, const Shape& shape);  // decode_elements
  std::vector<std::uint8_t> (*encode)(const Tensor& tensor);       // encode_elements
};
std::span<const ElementFormat> element_formats();
const ElementFormat& format_of(ElementType type);
ElementType element_type(DType dtype);  // in which a tensor of this type is written
std::optional<ElementType> parse_element_type(std::string_view name);  // "f16"

// The bytes of numbers, one after the other.
template <class... Ts>
std::string little_endian(Ts... values) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&values), sizeof(values)), ...);
  return bytes;
}

// Room for elements of any type, not zeroed.
inline std::unique_ptr<std::uint8_t[]> make_room(std::uint64_t bytes) {
  return std::make_unique_for_overwrite<std::uint8_t[]>(bytes);
}

// A tensor of format_of(type).memory from elements as they lie in a file, row-major. `data` is
// aligned to the element and holds shape.numel() of them.
inline Tensor decode_elements(ElementType type, const std::uint8_t* data, const Shape& shape) {
  return format_of(type).decode(data, shape);
}

// The bytes of a file, row-major. Floating types convert to each other, rounded to nearest even
// (what is too large for half becomes infinite); an integer that does not fit throws Error.
inline std::vector<std::uint8_t> encode_elements(ElementType type, const Tensor& tensor) {
  return format_of(type).encode(tensor);
}

}  // namespace nextgrad
