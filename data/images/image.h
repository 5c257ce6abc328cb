// Pictures and label maps in memory, and the files they come from.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace nextgrad {

struct Image {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // RGB, [H,W,3]
};
// All of whose channels are `value`.
inline Image plain_image(std::int64_t height, std::int64_t width, std::uint8_t value = 0) {
  return {height, width,
          std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * width), value)};
}

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
inline constexpr std::uint64_t kMaxPictureFile = 1ull << 31;  // most bytes of a picture's file

using Color = std::array<std::uint8_t, 3>;  // red, green, blue
using Palette = std::vector<Color>;         // one colour a class

// Pictures and labels of more pixels are refused as soon as their header is read: a file of a few
// kilobytes can unpack to gigabytes. 178,956,970 at first, where Pillow gives up too. Reading takes
// 3 bytes a pixel, twice that if EXIF turns the picture; of a JPEG in several scans (progressive) a
// pixel counts, and costs, threefold.
std::int64_t max_pixels();
void set_max_pixels(std::int64_t pixels);  // before any thread reads; throws Error below 1

// Reads a JPEG, PNG, BMP (8-bit palette; 16, 24, 32 bits with any colour masks; uncompressed) or
// PPM/PGM (P5, P6), told apart by content, as 8-bit RGB: grey is repeated, 16 bits lose the lower
// byte, alpha is ignored, CMYK is converted, the EXIF orientation of a JPEG or PNG is applied.
// Throws InputError for anything else, for damaged or truncated data and for too many pixels.
Image read_image(const std::string& path);
// The same from memory; `name` is for the error.
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name);

// Enough of a picture of height x width to have the wanted rectangle, with the very pixels that
// read_image gives: of a JPEG or PNG the rest is neither decoded nor checked. With `reduce` = 2, 4
// or 8, a JPEG is decoded at 1/2, 1/4 or 1/8 of its sides, rounded up, without the frequencies that
// are too high for that; the rectangle and the part then are of that smaller picture. Where this
// cannot be done (another format, a turned picture) the part is the whole one. Throws InputError as
// read_image, and, before a pixel is decoded, if the picture is not of height x width.
ImagePart decode_image_part(std::span<const std::uint8_t> bytes, const std::string& name,
                            const Rectangle& wanted, std::int64_t height, std::int64_t width,
                            int reduce = 1);

// Reads class indices from a PNG: palette (the indices, not the colours) or grey of 1 to 16 bits
// (the raw values; over 255 throws). Throws InputError for RGB, for an EXIF orientation (what it
// would mean for labels is anybody's guess) and for all that read_image refuses.
LabelMap read_label(const std::string& path);
// From memory; with `classes`, each value, up to 65535, is replaced by its class there; one that
// has none throws InputError.
LabelMap decode_label(std::span<const std::uint8_t> bytes, const std::string& name,
                      const std::map<int, std::uint8_t>* classes = nullptr);

// PNG files in memory: RGB; indices with a palette (up to 256 colours), or 8-bit grey if it is
// empty.
std::vector<std::uint8_t> encode_png(const Image& image);
std::vector<std::uint8_t> encode_png(const LabelMap& label, const Palette& palette = {});
// JPEG file in memory, quality 1..100, 4:4:4.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality = 90);

// encode_png into a file, atomically (see data/files/file.h for the errors).
void write_png(const std::string& path, const Image& image);
void write_png(const std::string& path, const LabelMap& label, const Palette& palette = {});

// Suffixes of the formats read_image knows: ".jpg", ".png", ...
const std::vector<std::string>& image_suffixes();
// The pictures (of these suffixes, any case) in a folder and all beneath it, as list_tree of
// data/files/file.h gives them.
std::vector<std::string> list_pictures(const std::string& folder);

}  // namespace nextgrad
