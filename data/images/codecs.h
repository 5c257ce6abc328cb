// What the image codecs share; for data/*.cpp only. Everything throws InputError with `name`.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "data/images/image.h"

namespace nextgrad::codecs {

using Bytes = std::span<const std::uint8_t>;

// What a file tells before its pixels are read.
struct Header {
  std::int64_t height = 0, width = 0;  // upright
  int orientation = 1;                 // EXIF's, 1..8: how the pixels are stored
};
// Of any format; refuses what is none, and sizes as check_extent does.
Header read_header(Bytes bytes, const std::string& name);  // image.cpp
// What to do about a picture whose labels are of another size.
std::string size_remedy(const Header& header);

// Refuses an empty picture and one of more than max_pixels(); a pixel may weigh several.
void check_extent(std::uint64_t width, std::uint64_t height, const std::string& name,
                  std::uint64_t weight = 1);

Header read_jpeg_header(Bytes bytes, const std::string& name);  // jpeg.cpp
Image decode_jpeg(Bytes bytes, const std::string& name);
// A part of a JPEG, or all of it; see decode_image_part. height and width of the part are those of
// the (reduced) picture.
ImagePart decode_jpeg_part(Bytes bytes, const std::string& name, const Rectangle& wanted,
                           int reduce);
Header read_png_header(Bytes bytes, const std::string& name);  // png.cpp
Image decode_png(Bytes bytes, const std::string& name);
// The rows from the first to `rows` (all, if they are fewer, or where rows do not come in order).
ImagePart decode_png_rows(Bytes bytes, const std::string& name, std::int64_t rows);
LabelMap decode_png_label(Bytes bytes, const std::string& name);
// Labels of up to 16 bits, each replaced by its class in `classes`; what has none is refused.
LabelMap decode_png_label(Bytes bytes, const std::string& name,
                          const std::map<int, std::uint8_t>& classes);
Header read_bmp_header(Bytes bytes, const std::string& name);  // bitmap.cpp
Image decode_bmp(Bytes bytes, const std::string& name);
Header read_pnm_header(Bytes bytes, const std::string& name);
Image decode_pnm(Bytes bytes, const std::string& name);

// EXIF orientation (1..8) of a JPEG's APP1 segment; 1 if there is none.
int exif_orientation(Bytes app1);
// The same of a bare TIFF structure, as in a PNG's eXIf chunk.
int tiff_orientation(Bytes tiff);
// Turns a picture stored with that orientation upright.
Image apply_orientation(Image image, int orientation);

}  // namespace nextgrad::codecs
