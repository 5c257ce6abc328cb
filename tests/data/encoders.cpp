#include "tests/data/encoders.h"

// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on
#include <spng.h>
#include <zlib.h>

#include <cstdlib>
#include <memory>

#include "tensor/error.h"

namespace nextgrad::testing {

FileBytes bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

FileBytes png_file(const PngKind& kind, const FileBytes& pixels, const Palette& palette) {
  const std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)> context(spng_ctx_new(SPNG_CTX_ENCODER),
                                                                    &spng_ctx_free);
  const auto ok = [](int code) { check(code == 0, "test's PNG: {}", spng_strerror(code)); };
  ok(spng_set_option(context.get(), SPNG_ENCODE_TO_BUFFER, 1));
  spng_ihdr header{};
  header.width = kind.width;
  header.height = kind.height;
  header.bit_depth = kind.bits;
  header.color_type = kind.color_type;
  header.interlace_method = kind.interlaced ? 1 : 0;
  ok(spng_set_ihdr(context.get(), &header));
  if (!palette.empty()) {
    spng_plte colors{};
    colors.n_entries = static_cast<std::uint32_t>(palette.size());
    for (std::size_t i = 0; i < palette.size(); ++i)
      colors.entries[i] = {palette[i][0], palette[i][1], palette[i][2], 255};
    ok(spng_set_plte(context.get(), &colors));
  }
  ok(spng_encode_image(context.get(), pixels.data(), pixels.size(), SPNG_FMT_RAW,
                       SPNG_ENCODE_FINALIZE));
  std::size_t size = 0;
  int error = 0;
  auto* buffer = static_cast<std::uint8_t*>(spng_get_png_buffer(context.get(), &size, &error));
  ok(error);
  FileBytes file(buffer, buffer + size);
  std::free(buffer);
  return file;
}

FileBytes jpeg_file(const JpegKind& kind, int height, int width, const FileBytes& pixels) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &buffer, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = kind.components;
  jpeg.in_color_space = kind.components == 1   ? JCS_GRAYSCALE
                        : kind.components == 3 ? JCS_RGB
                                               : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 98, TRUE);
  if (kind.progressive) jpeg_simple_progression(&jpeg);
  if (kind.components == 4) jpeg.write_Adobe_marker = kind.adobe_marker ? TRUE : FALSE;
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(pixels.data()) + std::size_t{jpeg.next_scanline} *
                                                          jpeg.image_width *
                                                          static_cast<std::size_t>(kind.components);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  FileBytes file(buffer, buffer + size);
  std::free(buffer);
  return file;
}

namespace {

FileBytes tiff_with(int orientation, bool big_endian) {
  FileBytes tiff;
  const auto put = [&](std::uint32_t value, int n) {
    for (int i = 0; i < n; ++i)
      tiff.push_back(static_cast<std::uint8_t>(value >> 8 * (big_endian ? n - 1 - i : i)));
  };
  tiff.assign(2, big_endian ? 'M' : 'I');
  put(42, 2), put(8, 4);                                       // magic, offset of the directory
  put(2, 2);                                                   // entries
  put(0x0100, 2), put(4, 2), put(1, 4), put(640, 4);           // a width, to be passed over
  put(0x0112, 2), put(3, 2), put(1, 4);                        // orientation, one short,
  put(static_cast<std::uint32_t>(orientation), 2), put(0, 2);  // left-justified
  put(0, 4);
  return tiff;
}

}  // namespace

FileBytes with_orientation(const FileBytes& jpeg, int orientation, bool big_endian) {
  const FileBytes tiff = tiff_with(orientation, big_endian);
  FileBytes segment{0xff, 0xe1, 0, static_cast<std::uint8_t>(tiff.size() + 8), 'E', 'x', 'i',
                    'f',  0,    0};
  segment.insert(segment.end(), tiff.begin(), tiff.end());
  FileBytes file = jpeg;
  file.insert(file.begin() + 2, segment.begin(), segment.end());
  return file;
}

FileBytes png_chunk(const std::string& type, const FileBytes& content) {
  FileBytes chunk = bytes_of(type);
  chunk.insert(chunk.end(), content.begin(), content.end());
  const auto sum =
      static_cast<std::uint32_t>(::crc32(0, chunk.data(), static_cast<unsigned>(chunk.size())));
  const auto big = [](std::uint64_t value) {
    return FileBytes{static_cast<std::uint8_t>(value >> 24), static_cast<std::uint8_t>(value >> 16),
                     static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
  };
  const FileBytes length = big(content.size()), end = big(sum);
  chunk.insert(chunk.begin(), length.begin(), length.end());
  chunk.insert(chunk.end(), end.begin(), end.end());
  return chunk;
}

FileBytes with_exif(const FileBytes& png, int orientation, bool at_end) {
  constexpr std::ptrdiff_t kHeader = 8 + 25, kEnd = 12;  // signature and IHDR; IEND
  const FileBytes chunk = png_chunk("eXIf", tiff_with(orientation, at_end));
  FileBytes file = png;
  file.insert(at_end ? file.end() - kEnd : file.begin() + kHeader, chunk.begin(), chunk.end());
  return file;
}

FileBytes bmp_with_masks(int width, int bits, const std::vector<std::uint32_t>& masks,
                         const std::vector<std::uint32_t>& pixels) {
  FileBytes file = bytes_of("BM");
  const auto put = [&](std::uint32_t value, int n) {
    for (int i = 0; i < n; ++i) file.push_back(static_cast<std::uint8_t>(value >> 8 * i));
  };
  const auto height = static_cast<std::uint32_t>(static_cast<int>(pixels.size()) / width);
  put(0, 4), put(0, 4), put(masks.empty() ? 54 : 66, 4);
  put(40, 4), put(static_cast<std::uint32_t>(width), 4), put(0 - height, 4);  // top down
  put(1, 2), put(static_cast<std::uint32_t>(bits), 2), put(masks.empty() ? 0 : 3, 4);
  put(0, 4), put(0, 4), put(0, 4), put(0, 4), put(0, 4);
  for (const std::uint32_t mask : masks) put(mask, 4);
  const std::size_t begin = file.size();
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    put(pixels[i], bits / 8);
    if ((i + 1) % static_cast<std::size_t>(width) == 0)
      while ((file.size() - begin) % 4 != 0) put(0, 1);
  }
  return file;
}

FileBytes bmp_file(const Image& image, int bits, bool top_down) {
  FileBytes file = bytes_of("BM");
  const auto put = [&](std::int64_t value, int n) {
    for (int i = 0; i < n; ++i) file.push_back(static_cast<std::uint8_t>(value >> 8 * i));
  };
  const int palette = bits == 8 ? 1024 : 0;
  put(0, 4), put(0, 4), put(54 + palette, 4);
  put(40, 4), put(image.width, 4), put(top_down ? -image.height : image.height, 4);
  put(1, 2), put(bits, 2), put(0, 4), put(0, 4), put(0, 4), put(0, 4), put(0, 4), put(0, 4);
  for (int i = 0; i < palette / 4; ++i) put((255 - i) * 0x010101, 4);
  for (std::int64_t row = 0; row < image.height; ++row) {
    const std::int64_t y = top_down ? row : image.height - 1 - row;
    for (std::int64_t x = 0; x < image.width; ++x) {
      const auto* rgb = image.pixels.data() + (y * image.width + x) * 3;
      if (bits == 8)
        put(255 - rgb[0], 1);
      else
        put(rgb[2] | rgb[1] << 8 | rgb[0] << 16, bits / 8);
    }
    while ((file.size() - 54 - static_cast<std::size_t>(palette)) % 4 != 0) put(0, 1);
  }
  return file;
}

}  // namespace nextgrad::testing
