// What the image codecs share; for data/*.cpp only. Everything throws InputError with `name`.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace nextgrad::codecs {

using Bytes = std::span<const std::uint8_t>;

// Refuses an empty picture and one of more than 2^28 pixels.
void check_extent(std::uint64_t width, std::uint64_t height, const std::string& name);

Image decode_jpeg(Bytes bytes, const std::string& name);  // jpeg.cpp
// A part of a JPEG, or all of it; see decode_image_part. height and width of the part are those of
// the (reduced) picture; `full` becomes the size that the file tells, turned upright.
ImagePart decode_jpeg_part(Bytes bytes, const std::string& name, const Rectangle& wanted,
                           int reduce, Rectangle& full);
// The rows of a PNG from the first to `rows` (all, if they are fewer).
ImagePart decode_png_rows(Bytes bytes, const std::string& name, std::int64_t rows);
Image decode_png(Bytes bytes, const std::string& name);  // png.cpp
LabelMap decode_png_label(Bytes bytes, const std::string& name);
Image decode_bmp(Bytes bytes, const std::string& name);  // bitmap.cpp
Image decode_pnm(Bytes bytes, const std::string& name);

// EXIF orientation (1..8) of an APP1 segment's payload; 1 if there is none.
int exif_orientation(Bytes app1);
// Turns a picture stored with that orientation upright.
Image apply_orientation(Image image, int orientation);

}  // namespace nextgrad::codecs
