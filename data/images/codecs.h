// What the image codecs share; for data/ only. What they throw does not name the file: see in_file
// of data/files/file.h.
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
// Of any format; refuses what is none, and sizes as check_extent does. Names the file in its
// errors.
Header read_header(Bytes bytes, const std::string& name);  // image.cpp
// What to do about a picture whose labels are of another size.
std::string size_remedy(const Header& header);

// All of a picture as its own part.
ImagePart whole_part(Image image);

// Refuses an empty picture and one of more than max_pixels(); a pixel may weigh several.
void check_extent(std::uint64_t width, std::uint64_t height, std::uint64_t weight = 1);

Header read_jpeg_header(Bytes bytes);  // jpeg.cpp
Image decode_jpeg(Bytes bytes);
// A part of a JPEG, or all of it; see decode_image_part. height and width of the part are those of
// the (reduced) picture.
ImagePart decode_jpeg_part(Bytes bytes, const Rectangle& wanted, int reduce);
Header read_png_header(Bytes bytes);  // png.cpp
Image decode_png(Bytes bytes);
// The rows from the first to `rows` (all, if they are fewer, or where rows do not come in order).
ImagePart decode_png_rows(Bytes bytes, std::int64_t rows);
// Labels as they are, up to 255; or of up to 16 bits, each replaced by its class in `classes`, and
// what has none refused.
LabelMap decode_png_label(Bytes bytes, const std::map<int, std::uint8_t>* classes);
Header read_bmp_header(Bytes bytes);  // bitmap.cpp
Image decode_bmp(Bytes bytes);
Header read_pnm_header(Bytes bytes);
Image decode_pnm(Bytes bytes);

// EXIF orientation (1..8) of a JPEG's APP1 segment; 1 if there is none.
int exif_orientation(Bytes app1);
// The same of a bare TIFF structure, as in a PNG's eXIf chunk.
int tiff_orientation(Bytes tiff);
// Header of a picture stored so, and the picture turned upright.
Header upright_header(std::int64_t height, std::int64_t width, int orientation);
Image apply_orientation(Image image, int orientation);

}  // namespace nextgrad::codecs
