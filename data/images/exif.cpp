// EXIF: a TIFF structure inside a JPEG's APP1 segment or a PNG's eXIf chunk; of its tags only the
// orientation matters.
#include <algorithm>
#include <cstring>
#include <utility>

#include "data/images/codecs.h"

namespace nextgrad::codecs {
namespace {

// A number of n bytes; 0 past the end.
std::uint32_t number(Bytes bytes, bool big_endian, std::size_t at, std::size_t n) {
  if (at + n > bytes.size()) return 0;
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < n; ++i) value = value << 8 | bytes[at + (big_endian ? i : n - 1 - i)];
  return value;
}

}  // namespace

int exif_orientation(Bytes app1) {
  if (app1.size() < 6 || std::memcmp(app1.data(), "Exif\0\0", 6) != 0) return 1;
  return tiff_orientation(app1.subspan(6));
}

int tiff_orientation(Bytes tiff) {
  const bool big = number(tiff, true, 0, 2) == 0x4d4d;  // "MM", not "II"
  const auto read = [&](std::size_t at, std::size_t n) { return number(tiff, big, at, n); };
  if ((!big && read(0, 2) != 0x4949) || read(2, 2) != 42) return 1;
  const std::size_t directory = read(4, 4);
  constexpr std::uint32_t kOrientation = 0x0112, kShort = 3;
  for (std::size_t i = 0; i < read(directory, 2); ++i) {
    const std::size_t entry = directory + 2 + i * 12;
    if (entry + 12 > tiff.size()) break;
    if (read(entry, 2) != kOrientation || read(entry + 2, 2) != kShort) continue;
    const std::uint32_t value = read(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Header upright_header(std::int64_t height, std::int64_t width, int orientation) {
  if (orientation >= 5) std::swap(height, width);
  return {height, width, orientation};
}

// Orientations 5..8 are stored with rows and columns exchanged.
Image apply_orientation(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool transposed = orientation >= 5;
  const auto is_among = [&](const char* some) { return std::strchr(some, '0' + orientation); };
  const bool mirror_x = is_among("2378"), mirror_y = is_among("3467");  // of the stored picture
  Image out =
      transposed ? plain_image(image.width, image.height) : plain_image(image.height, image.width);
  std::uint8_t* to = out.pixels.data();
  for (std::int64_t y = 0; y < out.height; ++y)
    for (std::int64_t x = 0; x < out.width; ++x, to += 3) {
      std::int64_t row = transposed ? x : y, column = transposed ? y : x;
      if (mirror_y) row = image.height - 1 - row;
      if (mirror_x) column = image.width - 1 - column;
      std::copy_n(image.pixels.data() + (row * image.width + column) * 3, 3, to);
    }
  return out;
}

}  // namespace nextgrad::codecs
