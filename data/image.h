// Pictures and label maps in memory, and the files they come from.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nextgrad {

struct Image {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // RGB, [H,W,3]
};

struct LabelMap {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> values;  // class indices, [H,W]; 255 = ignored in a data set's samples
};

struct Rectangle {  // a part of a picture, in pixels
  std::int64_t top = 0, left = 0, height = 0, width = 0;
};

// A part of a picture of height x width pixels.
struct ImagePart {
  Image image;
  std::int64_t top = 0, left = 0;  // where it lies
  std::int64_t height = 0, width = 0;
};

inline constexpr int kIgnoreLabel = 255;

using Color = std::array<std::uint8_t, 3>;  // red, green, blue
using Palette = std::vector<Color>;         // one colour a class

// Reads a JPEG, PNG, BMP (8-bit palette, 24, 32 bit, uncompressed) or PPM/PGM (P5, P6), told apart
// by content, as 8-bit RGB: grey is repeated, 16 bits lose the lower byte, alpha is ignored, CMYK
// is converted, a JPEG's EXIF orientation is applied. Throws InputError for anything else, for
// damaged or truncated data and for more than 2^28 pixels.
Image read_image(const std::string& path);
// The same from memory; `name` is for the error.
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name);

// Enough of a picture of height x width to have the wanted rectangle, with the very pixels that
// read_image gives: of a JPEG or PNG the rest is neither decoded nor checked. With `reduce` = 2, 4
// or 8, a JPEG is decoded at 1/2, 1/4 or 1/8 of its sides, rounded up, without the frequencies that
// are too high for that; the rectangle and the part then are of that smaller picture. Where this
// cannot be done (another format, a turned JPEG) the part is the whole picture. Throws InputError
// as read_image, and if the picture is not of height x width.
ImagePart read_image_part(const std::string& path, const Rectangle& wanted, std::int64_t height,
                          std::int64_t width, int reduce = 1);
ImagePart decode_image_part(std::span<const std::uint8_t> bytes, const std::string& name,
                            const Rectangle& wanted, std::int64_t height, std::int64_t width,
                            int reduce = 1);

// Reads class indices from a PNG: palette (the indices, not the colours) or grey of 1 to 16 bits
// (the raw values; over 255 throws). Throws InputError for RGB and all that read_image does.
LabelMap read_label(const std::string& path);
LabelMap decode_label(std::span<const std::uint8_t> bytes, const std::string& name);

// PNG files in memory: RGB; indices with a palette (up to 256 colours), or 8-bit grey if it is
// empty.
std::vector<std::uint8_t> encode_png(const Image& image);
std::vector<std::uint8_t> encode_png(const LabelMap& label, const Palette& palette = {});
// JPEG file in memory, quality 1..100, 4:4:4.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality = 90);

// encode_png into a file, atomically (see data/file.h for the errors).
void write_png(const std::string& path, const Image& image);
void write_png(const std::string& path, const LabelMap& label, const Palette& palette = {});

// Suffixes of the formats read_image knows: ".jpg", ".png", ...
const std::vector<std::string>& image_suffixes();

}  // namespace nextgrad
