// Slicing by eight: eight tables, eight bytes a step, an order of magnitude faster than byte by
// byte.
#include "data/crc32.h"

#include <array>
#include <bit>
#include <cstring>

namespace nextgrad {
namespace {

static_assert(std::endian::native == std::endian::little);

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

// tables[k][b]: what byte b adds when k more bytes of zeros follow it.
constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t c = b;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? 0xEDB88320u ^ c >> 1 : c >> 1;
    tables[0][b] = c;
  }
  for (std::size_t k = 1; k < 8; ++k)
    for (std::size_t b = 0; b < 256; ++b)
      tables[k][b] = tables[0][tables[k - 1][b] & 255] ^ tables[k - 1][b] >> 8;
  return tables;
}
constexpr Tables kTables = make_tables();

}  // namespace

std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t before) {
  std::uint32_t c = ~before;
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint32_t low = 0, high = 0;
    std::memcpy(&low, bytes.data() + i, 4);
    std::memcpy(&high, bytes.data() + i + 4, 4);
    low ^= c;
    c = kTables[7][low & 255] ^ kTables[6][low >> 8 & 255] ^ kTables[5][low >> 16 & 255] ^
        kTables[4][low >> 24] ^ kTables[3][high & 255] ^ kTables[2][high >> 8 & 255] ^
        kTables[1][high >> 16 & 255] ^ kTables[0][high >> 24];
  }
  for (; i < bytes.size(); ++i) c = kTables[0][(c ^ bytes[i]) & 255] ^ c >> 8;
  return ~c;
}

}  // namespace nextgrad
