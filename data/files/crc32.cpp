#include "data/files/crc32.h"

#include <zlib.h>

namespace nextgrad {

std::uint32_t crc32_of(std::span<const std::uint8_t> bytes, std::uint32_t before) {
  return static_cast<std::uint32_t>(crc32_z(before, bytes.data(), bytes.size()));
}

std::uint32_t crc32_of(std::string_view text, std::uint32_t before) {
  return crc32_of(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()),
                  before);
}

}  // namespace nextgrad
