#include "tensor/dtype.h"

#include <charconv>

#include "tensor/device.h"

namespace nextgrad {

std::size_t size_of(DType dtype) {
  return dispatch_all(dtype, [](auto tag) { return sizeof(tag); });
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
  }
  return "unknown";
}

std::string Device::str() const {
  return kind == Kind::cpu ? "cpu" : fmt::format("cuda:{}", index);
}

Device Device::parse(std::string_view text) {
  if (text == "cpu") return {};
  if (text == "cuda") return {Kind::cuda, 0};
  if (text.starts_with("cuda:")) {
    const auto digits = text.substr(5);
    int index = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error == std::errc{} && end == digits.data() + digits.size() && index >= 0)
      return {Kind::cuda, index};
  }
  fail_input("unknown device '{}': use cpu, cuda or cuda:N", text);
}

}  // namespace nextgrad
