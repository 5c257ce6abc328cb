// The header of a .safetensors file, checked while it is parsed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/files/file.h"
#include "data/weights/element_type.h"
#include "data/weights/safetensors.h"

namespace nextgrad {

struct SafeTensorsHeader {
  struct Entry {
    std::string name;
    ElementType type = ElementType::f32;
    Shape shape = {};
    std::uint64_t begin = 0, end = 0;  // of its bytes, counted from the header's end
  };
  std::vector<Entry> entries = {};  // in the order of the bytes, which they cover without a gap
  Metadata metadata = {};
  std::uint64_t bytes = 0;  // of the file before the numbers

  // The check sum of all that the header says, its metadata but for `except`, and every tensor's
  // name, type and shape, whatever their order.
  std::uint32_t sum(const std::string& except) const;
  std::string text() const;  // as it stands in the file, its length first; the numbers are aligned
};

// Time is that of sorting, memory in proportion to the header's bytes. Throws InputError
// for anything damaged or contradictory.
SafeTensorsHeader read_safetensors_header(const InputFile& file);

}  // namespace nextgrad
