// What a run learns from, so that it is not resumed on something else.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace nextgrad {

struct DataIdentity {
  struct Split {
    std::string name;
    std::int64_t samples = 0;
    std::uint32_t listing = 0;  // CRC-32 of the samples' names, in order
  };
  std::vector<std::string> classes;  // in order, printable
  std::vector<Split> splits;

  void add(const std::string& split, std::int64_t samples,
           const std::function<std::string(std::int64_t)>& name);
  std::string str() const;  // JSON
};
DataIdentity parse_data_identity(const std::string& json);  // throws InputError

// "class 1 was a and is b", "the split train had 20 samples and has 21"; empty if nothing changed.
std::string difference(const DataIdentity& before, const DataIdentity& now);

}  // namespace nextgrad
