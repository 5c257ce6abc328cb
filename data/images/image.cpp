#include "data/images/image.h"

#include <atomic>
#include <string_view>
#include <utility>

#include "data/files/file.h"
#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

std::atomic<std::int64_t> most_pixels{178956970};

struct Format {
  std::string_view begins;  // a file of it
  codecs::Header (*header)(codecs::Bytes);
  Image (*decode)(codecs::Bytes);
};
constexpr Format kFormats[] = {{"\xff\xd8\xff", codecs::read_jpeg_header, codecs::decode_jpeg},
                               {"\x89PNG\r\n\x1a\n", codecs::read_png_header, codecs::decode_png},
                               {"BM", codecs::read_bmp_header, codecs::decode_bmp},
                               {"P5", codecs::read_pnm_header, codecs::decode_pnm},
                               {"P6", codecs::read_pnm_header, codecs::decode_pnm}};
constexpr const Format &kJpeg = kFormats[0], &kPng = kFormats[1];

std::string_view text_of(codecs::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is(const Format& format, codecs::Bytes bytes) {
  return text_of(bytes).starts_with(format.begins);
}

// Says what else it may be, and what to do.
[[noreturn]] void refuse(codecs::Bytes bytes, const char* wanted) {
  if (bytes.empty()) fail_input("is empty (0 bytes); copy or download it again");
  const std::string_view head = text_of(bytes);
  if (head.front() == '<') fail_input("is a web page or XML, no picture; download it again");
  const auto at = [&](std::size_t begin, std::string_view magic) {
    return head.size() > begin && head.substr(begin).starts_with(magic);
  };
  const char* kind = at(0, "GIF8")                    ? "a GIF; "
                     : at(0, "II*") || at(0, "MM")    ? "a TIFF; "
                     : at(0, "RIFF") && at(8, "WEBP") ? "a WebP; "
                     : at(4, "ftyp")                  ? "a HEIC or AVIF; "
                     : at(4, "jP  ")                  ? "a JPEG 2000; "
                     : is(kJpeg, bytes)               ? "a JPEG; "
                                                      : "";
  fail_input("is {}{}", kind, wanted);
}

const Format& format_of(codecs::Bytes bytes) {
  for (const Format& format : kFormats)
    if (is(format, bytes)) return format;
  refuse(bytes, "no JPEG, PNG, BMP, PPM or PGM picture; convert it to one");
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

void check_extent(std::uint64_t width, std::uint64_t height, std::uint64_t weight) {
  const auto most = static_cast<std::uint64_t>(max_pixels());
  if (width == 0 || height == 0) fail_input("the picture is empty");
  if (width > most || height > most / width || width * height > most / weight)
    fail_input("{} x {} pixels{}; at most {} are read: make it smaller or raise --max-pixels",
               width, height, weight > 1 ? " in several scans" : "", most / weight);
}

ImagePart whole_part(Image image) {
  const std::int64_t height = image.height, width = image.width;
  return {std::move(image), 0, 0, height, width};
}

Header read_header(Bytes bytes, const std::string& name) {
  return in_file(name, [&] { return format_of(bytes).header(bytes); });
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
  return in_file(name, [&] { return format_of(bytes).decode(bytes); });
}

ImagePart decode_image_part(std::span<const std::uint8_t> bytes, const std::string& name,
                            const Rectangle& wanted, std::int64_t height, std::int64_t width,
                            int reduce) {
  check(reduce == 1 || reduce == 2 || reduce == 4 || reduce == 8, "decode: 1/{} of the size",
        reduce);
  check(wanted.top * reduce < height && wanted.left * reduce < width,
        "decode: a part at ({}, {}) of {} x {} at 1/{}", wanted.left, wanted.top, width, height,
        reduce);
  return in_file(name, [&] {
    const Format& format = format_of(bytes);
    const codecs::Header header = format.header(bytes);
    if (header.height != height || header.width != width)
      fail_input("{} x {} pixels, but its labels are {} x {}; {}", header.width, header.height,
                 width, height, codecs::size_remedy(header));
    if (&format == &kJpeg) return codecs::decode_jpeg_part(bytes, wanted, reduce);
    if (&format == &kPng)
      return codecs::decode_png_rows(bytes, reduce == 1 ? wanted.top + wanted.height : height);
    return codecs::whole_part(format.decode(bytes));
  });
}

Image read_image(const std::string& path) {
  return decode_image(read_file(path, kMaxPictureFile), path);
}

LabelMap decode_label(std::span<const std::uint8_t> bytes, const std::string& name,
                      const std::map<int, std::uint8_t>* classes) {
  return in_file(name, [&] {
    if (!is(kPng, bytes)) refuse(bytes, "no PNG; labels are grey or palette PNG files");
    return codecs::decode_png_label(bytes, classes);
  });
}

LabelMap read_label(const std::string& path) {
  return decode_label(read_file(path, kMaxPictureFile), path);
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
