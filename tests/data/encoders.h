// Image files that the library cannot write itself, as tests need them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace nextgrad::testing {

using FileBytes = std::vector<std::uint8_t>;

struct PngKind {
  std::uint32_t width, height;
  std::uint8_t bits, color_type;  // of the PNG specification: 0 grey, 2 RGB, 3 palette, 4, 6 alpha
  bool interlaced = false;
};
// `pixels` as in the file: rows packed, 16 bits big-endian.
FileBytes png_file(const PngKind& kind, const FileBytes& pixels, const Palette& palette = {});

struct JpegKind {
  int components = 3;  // 1 grey, 3 RGB, 4 CMYK
  bool progressive = false;
  bool adobe_marker = true;  // of CMYK
};
FileBytes jpeg_file(const JpegKind& kind, int height, int width, const FileBytes& pixels);

// Inserts an EXIF segment with that orientation after a JPEG's first marker.
FileBytes with_orientation(const FileBytes& jpeg, int orientation, bool big_endian);

// BMP of 8 (grey palette in reverse: colour i is 255 - i), 24 or 32 bits.
FileBytes bmp_file(const Image& image, int bits, bool top_down);

FileBytes bytes_of(const std::string& text);

}  // namespace nextgrad::testing
