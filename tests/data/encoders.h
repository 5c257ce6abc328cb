// Image files that the library cannot write itself, as tests need them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/images/image.h"

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

// Inserts an eXIf chunk with that orientation behind a PNG's header, or before its end mark.
FileBytes with_exif(const FileBytes& png, int orientation, bool at_end);
// A PNG's chunk as it stands in a file, with its checksum.
FileBytes png_chunk(const std::string& type, const FileBytes& content);

// BMP of 8 (grey palette in reverse: colour i is 255 - i), 24 or 32 bits.
FileBytes bmp_file(const Image& image, int bits, bool top_down);

// BMP of 16 or 32 bits with the masks of red, green and blue, and pixels of that form.
FileBytes bmp_with_masks(int width, int bits, const std::vector<std::uint32_t>& masks,
                         const std::vector<std::uint32_t>& pixels);

FileBytes bytes_of(const std::string& text);

}  // namespace nextgrad::testing
