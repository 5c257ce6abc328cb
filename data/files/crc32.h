// The check sum of our files: zlib's CRC-32.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nextgrad {

// `before`: of the bytes that come before these.
std::uint32_t crc32_of(std::span<const std::uint8_t> bytes, std::uint32_t before = 0);
std::uint32_t crc32_of(std::string_view text, std::uint32_t before = 0);

}  // namespace nextgrad
