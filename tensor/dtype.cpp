#include "tensor/dtype.h"

#include <charconv>

#include "tensor/storage.h"

namespace nextgrad {

std::size_t size_of(DType dtype) {
  return dispatch_all(dtype, [](auto tag) { return sizeof(tag); });
}

const char* name_of(DType dtype) {
  constexpr const char* kNames[] = {"f32", "f64", "bf16", "i64", "i32", "u8"};
  const auto at = static_cast<std::size_t>(dtype);
  return at < std::size(kNames) ? kNames[at] : "unknown";
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
