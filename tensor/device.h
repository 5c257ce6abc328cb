// Where a tensor lives.
#pragma once

#include <string>
#include <string_view>

namespace nextgrad {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  std::string str() const;                     // "cpu", "cuda:0"
  static Device parse(std::string_view text);  // "cpu", "cuda", "cuda:1"; throws InputError
};

}  // namespace nextgrad
