#include "data/image.h"

#include <cstring>

#include "data/codecs.h"
#include "data/file.h"
#include "tensor/error.h"

namespace nextgrad {

namespace codecs {

void check_extent(std::uint64_t width, std::uint64_t height, const std::string& name) {
  constexpr std::uint64_t kMaxPixels = 1u << 28;
  if (width == 0 || height == 0) fail_input("{}: the picture is empty", name);
  if (width > kMaxPixels || height > kMaxPixels || width * height > kMaxPixels)
    fail_input("{}: {} x {} pixels; at most 2^28 are read, make it smaller", name, width, height);
}

}  // namespace codecs

namespace {

constexpr std::uint64_t kMaxFile = 1ull << 31;

bool starts_with(codecs::Bytes bytes, const char* magic, std::size_t n) {
  return bytes.size() >= n && std::memcmp(bytes.data(), magic, n) == 0;
}
bool is_png(codecs::Bytes bytes) {
  return starts_with(bytes, "\x89PNG\r\n\x1a\n", 8);
}

}  // namespace

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name) {
  if (starts_with(bytes, "\xff\xd8\xff", 3)) return codecs::decode_jpeg(bytes, name);
  if (is_png(bytes)) return codecs::decode_png(bytes, name);
  if (starts_with(bytes, "BM", 2)) return codecs::decode_bmp(bytes, name);
  if (starts_with(bytes, "P5", 2) || starts_with(bytes, "P6", 2))
    return codecs::decode_pnm(bytes, name);
  fail_input("{}: is no JPEG, PNG, BMP, PPM or PGM picture; convert it to one", name);
}

ImagePart decode_image_part(std::span<const std::uint8_t> bytes, const std::string& name,
                            const Rectangle& wanted, std::int64_t height, std::int64_t width,
                            int reduce) {
  check(reduce == 1 || reduce == 2 || reduce == 4 || reduce == 8, "decode: 1/{} of the size",
        reduce);
  const auto refuse = [&](std::int64_t h, std::int64_t w) {
    if (h != height || w != width)
      fail_input("{}: {} x {} pixels, but its labels are {} x {}; make them the same size", name, w,
                 h, width, height);
  };
  ImagePart part;
  if (starts_with(bytes, "\xff\xd8\xff", 3)) {
    Rectangle full;
    part = codecs::decode_jpeg_part(bytes, name, wanted, reduce, full);
    refuse(full.height, full.width);
    return part;
  }
  if (is_png(bytes)) {
    part = codecs::decode_png_rows(bytes, name, reduce == 1 ? wanted.top + wanted.height : height);
  } else {
    part.image = decode_image(bytes, name);
    part.height = part.image.height;
    part.width = part.image.width;
  }
  refuse(part.height, part.width);
  return part;
}

ImagePart read_image_part(const std::string& path, const Rectangle& wanted, std::int64_t height,
                          std::int64_t width, int reduce) {
  return decode_image_part(read_file(path, kMaxFile), path, wanted, height, width, reduce);
}

Image read_image(const std::string& path) {
  return decode_image(read_file(path, kMaxFile), path);
}

LabelMap decode_label(std::span<const std::uint8_t> bytes, const std::string& name) {
  if (!is_png(bytes)) fail_input("{}: is no PNG; labels are grey or palette PNG files", name);
  return codecs::decode_png_label(bytes, name);
}

LabelMap read_label(const std::string& path) {
  return decode_label(read_file(path, kMaxFile), path);
}

void write_png(const std::string& path, const Image& image) {
  write_file_atomic(path, encode_png(image));
}

void write_png(const std::string& path, const LabelMap& label, const Palette& palette) {
  write_file_atomic(path, encode_png(label, palette));
}

const std::vector<std::string>& image_suffixes() {
  static const std::vector<std::string> suffixes{".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm"};
  return suffixes;
}

}  // namespace nextgrad
