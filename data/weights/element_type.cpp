#include "data/weights/element_type.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "tensor/error.h"

namespace nextgrad {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

#ifdef __aarch64__
using Half = __fp16;  // _Float16 is not in GCC 12's C++ there
#else
using Half = _Float16;
#endif

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

// Calls f with a number as it lies in the file and one as it lies in memory; its result.
template <class F>
auto with_types(ElementType type, const F& f) {
  switch (type) {
    case f64:
      return f(double{}, double{});
    case f32:
      return f(float{}, float{});
    case f16:
      return f(Half{}, float{});
    case bf16:
      return f(bfloat16{}, bfloat16{});
    case i64:
      return f(std::int64_t{}, std::int64_t{});
    case i32:
      return f(std::int32_t{}, std::int32_t{});
    case i16:
      return f(std::int16_t{}, std::int32_t{});
    case i8:
      return f(std::int8_t{}, std::int32_t{});
    case u8:
    case boolean:
      return f(std::uint8_t{}, std::uint8_t{});
    case u16:
      return f(std::uint16_t{}, std::int32_t{});
    case u32:
      return f(std::uint32_t{}, std::int64_t{});
  }
  fail("unknown element type {}", static_cast<int>(type));
}

template <class Stored, class Value>
Stored narrow(Value v) {
  if constexpr (std::is_integral_v<Stored>)
    check(std::in_range<Stored>(v), "{} does not fit into {} bytes", v, sizeof(Stored));
  return static_cast<Stored>(v);
}

}  // namespace

std::span<const ElementFormat> element_formats() {
  return kFormats;
}

const ElementFormat& format_of(ElementType type) {
  return kFormats[static_cast<std::size_t>(type)];
}

ElementType element_type(DType dtype) {
  for (const ElementFormat& format : kFormats)
    if (format.memory == dtype && format.bytes == size_of(dtype)) return format.type;
  fail("unknown dtype {}", static_cast<int>(dtype));
}

std::optional<ElementType> parse_element_type(std::string_view name) {
  for (const ElementFormat& format : kFormats)
    if (name == format.name) return format.type;
  return std::nullopt;
}

Tensor decode_elements(ElementType type, const std::uint8_t* data, const Shape& shape) {
  const auto n = static_cast<std::size_t>(shape.numel());
  if (type == boolean) {
    std::vector<std::uint8_t> values(n);
    std::transform(data, data + n, values.begin(), [](std::uint8_t v) { return v != 0; });
    return Tensor::from(values, shape);
  }
  return with_types(type, [&]<class Stored, class Memory>(Stored, Memory) {
    const std::span stored(reinterpret_cast<const Stored*>(data), n);
    if constexpr (std::is_same_v<Stored, Memory>)
      return Tensor::from(stored, shape);
    else
      return Tensor::from(std::vector<Memory>(stored.begin(), stored.end()), shape);
  });
}

std::vector<std::uint8_t> encode_elements(ElementType type, const Tensor& tensor) {
  return with_types(type, [&]<class Stored, class Memory>(Stored, Memory) {
    using Floating = std::conditional_t<std::is_same_v<Stored, Half>, double, Stored>;
    using Value = std::conditional_t<std::is_integral_v<Stored>, std::int64_t, Floating>;
    const std::vector<Value> values = tensor.to_vector<Value>();
    std::vector<std::uint8_t> bytes(values.size() * sizeof(Stored));
    std::transform(values.begin(), values.end(), reinterpret_cast<Stored*>(bytes.data()),
                   narrow<Stored, Value>);
    return bytes;
  });
}

}  // namespace nextgrad
