// EXIF: a TIFF structure inside a JPEG's APP1 segment or a PNG's eXIf chunk; of its tags only the
// orientation matters.
#include <algorithm>
#include <cstring>
#include <utility>

#include "data/images/codecs.h"

namespace nextgrad::codecs {
namespace {

// Reads numbers of a TIFF structure; 0 past the end.
struct Tiff {
  Bytes bytes;
  bool big_endian;
  std::uint32_t read(std::size_t at, std::size_t n) const {
    if (at + n > bytes.size()) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < n; ++i)
      value = value << 8 | bytes[at + (big_endian ? i : n - 1 - i)];
    return value;
  }
};

}  // namespace

int exif_orientation(Bytes app1) {
  if (app1.size() < 6 || std::memcmp(app1.data(), "Exif\0\0", 6) != 0) return 1;
  return tiff_orientation(app1.subspan(6));
}

int tiff_orientation(Bytes body) {
  if (body.size() < 8) return 1;
  const bool big = body[0] == 'M' && body[1] == 'M';
  if (!big && !(body[0] == 'I' && body[1] == 'I')) return 1;
  const Tiff tiff{body, big};
  if (tiff.read(2, 2) != 42) return 1;
  const std::size_t directory = tiff.read(4, 4);
  const std::uint32_t entries = tiff.read(directory, 2);
  constexpr std::uint32_t kOrientation = 0x0112, kShort = 3;
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * 12;
    if (entry + 12 > body.size()) break;
    if (tiff.read(entry, 2) != kOrientation || tiff.read(entry + 2, 2) != kShort) continue;
    const std::uint32_t value = tiff.read(entry + 8, 2);
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
  const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 ||
                        orientation == 8;  // of the stored picture
  const bool mirror_y =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image out;
  out.height = transposed ? image.width : image.height;
  out.width = transposed ? image.height : image.width;
  out.pixels.resize(image.pixels.size());
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
