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

template <class Stored, class Value>
Stored narrow(Value v) {
  if constexpr (std::is_integral_v<Stored>)
    check(std::in_range<Stored>(v), "{} does not fit into {} bytes", v, sizeof(Stored));
  return static_cast<Stored>(v);
}

// Of numbers that lie as `Stored` in the file and as `Memory` in memory.
template <class Stored, class Memory>
Tensor decode(const std::uint8_t* data, const Shape& shape) {
  const std::span stored(reinterpret_cast<const Stored*>(data),
                         static_cast<std::size_t>(shape.numel()));
  if constexpr (std::is_same_v<Stored, Memory>)
    return Tensor::from(stored, shape);
  else
    return Tensor::from(std::vector<Memory>(stored.begin(), stored.end()), shape);
}

Tensor decode_truth(const std::uint8_t* data, const Shape& shape) {
  std::vector<std::uint8_t> values(static_cast<std::size_t>(shape.numel()));
  std::transform(data, data + values.size(), values.begin(), [](auto v) { return v != 0; });
  return Tensor::from(values, shape);
}

template <class Stored>
std::vector<std::uint8_t> encode(const Tensor& tensor) {
  using Floating = std::conditional_t<std::is_same_v<Stored, Half>, double, Stored>;
  using Value = std::conditional_t<std::is_integral_v<Stored>, std::int64_t, Floating>;
  const std::vector<Value> values = tensor.to_vector<Value>();
  std::vector<std::uint8_t> bytes(values.size() * sizeof(Stored));
  std::transform(values.begin(), values.end(), reinterpret_cast<Stored*>(bytes.data()),
                 narrow<Stored, Value>);
  return bytes;
}

template <class Stored, class Memory = Stored>
constexpr ElementFormat format(ElementType type, const char* name, const char* safetensors,
                               const char* torch, const char* storage) {
  return {type,          name,           safetensors,      torch,
          storage,       sizeof(Stored), dtype_of<Memory>, decode<Stored, Memory>,
          encode<Stored>};
}

using enum ElementType;
constexpr ElementFormat kFormats[] = {
    format<double>(f64, "f64", "F64", "float64", "DoubleStorage"),
    format<float>(f32, "f32", "F32", "float32", "FloatStorage"),
    format<Half, float>(f16, "f16", "F16", "float16", "HalfStorage"),
    format<bfloat16>(bf16, "bf16", "BF16", "bfloat16", "BFloat16Storage"),
    format<std::int64_t>(i64, "i64", "I64", "int64", "LongStorage"),
    format<std::int32_t>(i32, "i32", "I32", "int32", "IntStorage"),
    format<std::int16_t, std::int32_t>(i16, "i16", "I16", "int16", "ShortStorage"),
    format<std::int8_t, std::int32_t>(i8, "i8", "I8", "int8", "CharStorage"),
    format<std::uint8_t>(u8, "u8", "U8", "uint8", "ByteStorage"),
    {boolean, "bool", "BOOL", "bool", "BoolStorage", 1, DType::u8, decode_truth,
     encode<std::uint8_t>},
    format<std::uint16_t, std::int32_t>(u16, "u16", "U16", "uint16", nullptr),
    format<std::uint32_t, std::int64_t>(u32, "u32", "U32", "uint32", nullptr)};

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

}  // namespace nextgrad
