#include "data/images/image.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>

#include "data/files/file.h"
#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {

namespace {

constexpr std::uint64_t kMaxFile = 1ull << 31;
constexpr const char* kNoPicture = "no JPEG, PNG, BMP, PPM or PGM picture; convert it to one";
std::atomic<std::int64_t> most_pixels{178956970};

bool starts_with(codecs::Bytes bytes, const char* magic, std::size_t n) {
  return bytes.size() >= n && std::memcmp(bytes.data(), magic, n) == 0;
}
bool is_png(codecs::Bytes bytes) {
  return starts_with(bytes, "\x89PNG\r\n\x1a\n", 8);
}

bool is_jpeg(codecs::Bytes bytes) {
  return starts_with(bytes, "\xff\xd8\xff", 3);
}
bool is_bmp(codecs::Bytes bytes) {
  return starts_with(bytes, "BM", 2);
}
bool is_pnm(codecs::Bytes bytes) {
  return starts_with(bytes, "P5", 2) || starts_with(bytes, "P6", 2);
}

// Says what else it may be, and what to do.
[[noreturn]] void refuse(codecs::Bytes bytes, const std::string& name, const char* wanted) {
  if (bytes.empty()) fail_input("{}: is empty (0 bytes); copy or download it again", name);
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()),
                              std::min<std::size_t>(bytes.size(), 16));
  if (head.front() == '<')
    fail_input("{}: is a web page or XML, no picture; download it again", name);
  const auto at = [&](std::size_t begin, std::string_view magic) {
    return head.size() > begin && head.substr(begin).starts_with(magic);
  };
  const char* kind = at(0, "GIF8")                    ? "a GIF; "
                     : at(0, "II*") || at(0, "MM")    ? "a TIFF; "
                     : at(0, "RIFF") && at(8, "WEBP") ? "a WebP; "
                     : at(4, "ftyp")                  ? "a HEIC or AVIF; "
                     : at(4, "jP  ")                  ? "a JPEG 2000; "
                     : is_jpeg(bytes)                 ? "a JPEG; "
                                                      : "";
  fail_input("{}: is {}{}", name, kind, wanted);
}

}  // namespace

std::int64_t max_pixels() {
  return most_pixels;
}

void set_max_pixels(std::int64_t pixels) {
  check(pixels >= 1, "pictures of {} pixels at most", pixels);
  most_pixels = pixels;
}

namespace codecs {

void check_extent(std::uint64_t width, std::uint64_t height, const std::string& name,
                  std::uint64_t weight) {
  const auto most = static_cast<std::uint64_t>(max_pixels());
  if (width == 0 || height == 0) fail_input("{}: the picture is empty", name);
  if (width > most || height > most / width || width * height > most / weight)
    fail_input("{}: {} x {} pixels{}; at most {} are read: make it smaller or raise --max-pixels",
               name, width, height, weight > 1 ? " in several scans" : "", most / weight);
}

Header read_header(Bytes bytes, const std::string& name) {
  if (is_jpeg(bytes)) return read_jpeg_header(bytes, name);
  if (is_png(bytes)) return read_png_header(bytes, name);
  if (is_bmp(bytes)) return read_bmp_header(bytes, name);
  if (is_pnm(bytes)) return read_pnm_header(bytes, name);
  refuse(bytes, name, kNoPicture);
}

std::string size_remedy(const Header& header) {
  if (header.orientation == 1) return "make them the same size";
  return fmt::format(
      "its EXIF orientation ({}) turned the picture: turn the labels too, or take the orientation "
      "out of the file",
      header.orientation);
}

}  // namespace codecs

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name) {
  if (is_jpeg(bytes)) return codecs::decode_jpeg(bytes, name);
  if (is_png(bytes)) return codecs::decode_png(bytes, name);
  if (is_bmp(bytes)) return codecs::decode_bmp(bytes, name);
  if (is_pnm(bytes)) return codecs::decode_pnm(bytes, name);
  refuse(bytes, name, kNoPicture);
}

ImagePart decode_image_part(std::span<const std::uint8_t> bytes, const std::string& name,
                            const Rectangle& wanted, std::int64_t height, std::int64_t width,
                            int reduce) {
  check(reduce == 1 || reduce == 2 || reduce == 4 || reduce == 8, "decode: 1/{} of the size",
        reduce);
  check(wanted.top * reduce < height && wanted.left * reduce < width,
        "decode: a part at ({}, {}) of {} x {} at 1/{}", wanted.left, wanted.top, width, height,
        reduce);
  const codecs::Header header = codecs::read_header(bytes, name);
  if (header.height != height || header.width != width)
    fail_input("{}: {} x {} pixels, but its labels are {} x {}; {}", name, header.width,
               header.height, width, height, codecs::size_remedy(header));
  if (is_jpeg(bytes)) return codecs::decode_jpeg_part(bytes, name, wanted, reduce);
  if (is_png(bytes))
    return codecs::decode_png_rows(bytes, name, reduce == 1 ? wanted.top + wanted.height : height);
  ImagePart part;
  part.image = decode_image(bytes, name);
  part.height = part.image.height;
  part.width = part.image.width;
  return part;
}

ImagePart read_image_part(const std::string& path, const Rectangle& wanted, std::int64_t height,
                          std::int64_t width, int reduce) {
  return decode_image_part(read_file(path, kMaxFile), path, wanted, height, width, reduce);
}

Image read_image(const std::string& path) {
  return decode_image(read_file(path, kMaxFile), path);
}

namespace {

void check_is_label(codecs::Bytes bytes, const std::string& name) {
  if (!is_png(bytes)) refuse(bytes, name, "no PNG; labels are grey or palette PNG files");
}

}  // namespace

LabelMap decode_label(std::span<const std::uint8_t> bytes, const std::string& name) {
  check_is_label(bytes, name);
  return codecs::decode_png_label(bytes, name);
}

LabelMap decode_label(std::span<const std::uint8_t> bytes, const std::string& name,
                      const std::map<int, std::uint8_t>& classes) {
  check_is_label(bytes, name);
  return codecs::decode_png_label(bytes, name, classes);
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

std::vector<std::string> list_pictures(const std::string& folder) {
  return list_tree(folder, image_suffixes());
}

}  // namespace nextgrad
