#include "data/weights/element_type.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tensor/error.h"

namespace nextgrad {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

using enum ElementType;
constexpr ElementFormat kFormats[] = {
    {f64, "f64", "F64", "float64", "DoubleStorage", 8, DType::f64},
    {f32, "f32", "F32", "float32", "FloatStorage", 4, DType::f32},
    {f16, "f16", "F16", "float16", "HalfStorage", 2, DType::f32},
    {bf16, "bf16", "BF16", "bfloat16", "BFloat16Storage", 2, DType::bf16},
    {i64, "i64", "I64", "int64", "LongStorage", 8, DType::i64},
    {i32, "i32", "I32", "int32", "IntStorage", 4, DType::i32},
    {i16, "i16", "I16", "int16", "ShortStorage", 2, DType::i32},
    {i8, "i8", "I8", "int8", "CharStorage", 1, DType::i32},
    {u8, "u8", "U8", "uint8", "ByteStorage", 1, DType::u8},
    {boolean, "bool", "BOOL", "bool", "BoolStorage", 1, DType::u8},
    {u16, "u16", "U16", "uint16", nullptr, 2, DType::i32},
    {u32, "u32", "U32", "uint32", nullptr, 4, DType::i64}};

template <class T>
std::span<const T> view(const std::uint8_t* data, std::size_t n) {
  return {reinterpret_cast<const T*>(data), n};
}

// Elements of type Stored, each made a Memory by `convert`.
template <class Memory, class Stored, class Convert>
Tensor widen(const std::uint8_t* data, const Shape& shape, Convert convert) {
  const auto stored = view<Stored>(data, static_cast<std::size_t>(shape.numel()));
  std::vector<Memory> values(stored.size());
  std::transform(stored.begin(), stored.end(), values.begin(), convert);
  return Tensor::from(values, shape);
}

template <class Memory, class Stored>
Tensor widen(const std::uint8_t* data, const Shape& shape) {
  return widen<Memory, Stored>(data, shape, [](Stored v) { return static_cast<Memory>(v); });
}

template <class T>
std::vector<std::uint8_t> bytes_of(const std::vector<T>& values) {
  std::vector<std::uint8_t> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <class Stored>
std::vector<std::uint8_t> narrow(const Tensor& tensor) {
  std::vector<Stored> stored;
  stored.reserve(static_cast<std::size_t>(tensor.numel()));
  for (const std::int64_t v : tensor.to_vector<std::int64_t>()) {
    check(v >= static_cast<std::int64_t>(std::numeric_limits<Stored>::min()) &&
              v <= static_cast<std::int64_t>(std::numeric_limits<Stored>::max()),
          "{} does not fit into {} bytes", v, sizeof(Stored));
    stored.push_back(static_cast<Stored>(v));
  }
  return bytes_of(stored);
}

std::vector<std::uint8_t> halves(const Tensor& tensor) {
  std::vector<std::uint16_t> stored;
  stored.reserve(static_cast<std::size_t>(tensor.numel()));
  for (const double v : tensor.to_vector<double>()) stored.push_back(half_from(v));
  return bytes_of(stored);
}

}  // namespace

std::span<const ElementFormat> element_formats() {
  return kFormats;
}

const ElementFormat& format_of(ElementType type) {
  return kFormats[static_cast<std::size_t>(type)];
}

ElementType element_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return f32;
    case DType::f64:
      return f64;
    case DType::bf16:
      return bf16;
    case DType::i64:
      return i64;
    case DType::i32:
      return i32;
    case DType::u8:
      return u8;
  }
  fail("unknown dtype {}", static_cast<int>(dtype));
}

std::optional<ElementType> parse_element_type(std::string_view name) {
  for (const ElementFormat& format : kFormats)
    if (name == format.name) return format.type;
  return std::nullopt;
}

std::span<std::uint8_t> ByteBuffer::resize(std::uint64_t bytes) {
  if (bytes > capacity_ || data_ == nullptr) {
    data_.reset();  // first, so that the two never stand side by side
    capacity_ = 0;
    data_ = std::make_unique_for_overwrite<std::uint8_t[]>(bytes);
    capacity_ = bytes;
  }
  return {data_.get(), bytes};
}

Tensor decode_elements(ElementType type, const std::uint8_t* data, const Shape& shape) {
  const auto n = static_cast<std::size_t>(shape.numel());
  switch (type) {
    case f64:
      return Tensor::from(view<double>(data, n), shape);
    case f32:
      return Tensor::from(view<float>(data, n), shape);
    case bf16:
      return Tensor::from(view<bfloat16>(data, n), shape);
    case i64:
      return Tensor::from(view<std::int64_t>(data, n), shape);
    case i32:
      return Tensor::from(view<std::int32_t>(data, n), shape);
    case u8:
      return Tensor::from(view<std::uint8_t>(data, n), shape);
    case f16:
      return widen<float, std::uint16_t>(data, shape, half_to_float);
    case i16:
      return widen<std::int32_t, std::int16_t>(data, shape);
    case i8:
      return widen<std::int32_t, std::int8_t>(data, shape);
    case u16:
      return widen<std::int32_t, std::uint16_t>(data, shape);
    case u32:
      return widen<std::int64_t, std::uint32_t>(data, shape);
    case boolean:
      return widen<std::uint8_t, std::uint8_t>(
          data, shape, [](std::uint8_t v) { return static_cast<std::uint8_t>(v != 0); });
  }
  fail("unknown element type {}", static_cast<int>(type));
}

std::vector<std::uint8_t> encode_elements(ElementType type, const Tensor& tensor) {
  switch (type) {
    case f64:
      return bytes_of(tensor.to_vector<double>());
    case f32:
      return bytes_of(tensor.to_vector<float>());
    case f16:
      return halves(tensor);
    case bf16:
      return bytes_of(tensor.to_vector<bfloat16>());
    case i64:
      return bytes_of(tensor.to_vector<std::int64_t>());
    case i32:
      return narrow<std::int32_t>(tensor);
    case i16:
      return narrow<std::int16_t>(tensor);
    case i8:
      return narrow<std::int8_t>(tensor);
    case u8:
    case boolean:
      return narrow<std::uint8_t>(tensor);
    case u16:
      return narrow<std::uint16_t>(tensor);
    case u32:
      return narrow<std::uint32_t>(tensor);
  }
  fail("unknown element type {}", static_cast<int>(type));
}

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits >> 10 & 31u, mantissa = bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(tiny));
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

std::uint16_t half_from(double value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7e00);
  const double size = std::abs(value);
  if (size >= 65520) return static_cast<std::uint16_t>(sign | 0x7c00);  // rounds past the largest
  // The last place of a half at this size: 2^-24 for subnormals, else 2^(exponent - 10).
  const int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
  const auto places = static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  // A subnormal is `places` itself; else 1024 of them are the hidden one. A carry runs into the
  // exponent, as it should.
  const int bits = size < 0x1p-14 ? places : ((exponent + 15) << 10) + places - 1024;
  return static_cast<std::uint16_t>(sign | bits);
}

}  // namespace nextgrad
