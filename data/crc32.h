// The check sum of zip files.
#pragma once

#include <cstdint>
#include <span>

namespace nextgrad {

// CRC-32 of ISO 3309 (polynomial 0xEDB88320, reflected) of `bytes`, continuing from `before`.
std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t before = 0);

}  // namespace nextgrad
