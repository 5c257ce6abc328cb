// JPEG by libjpeg-turbo. Its errors leave through longjmp, so the functions that call it hold no
// object with a destructor; the buffers, and libjpeg's own memory, belong to their callers, whom
// C++ exceptions (no memory left) reach too.
// clang-format off
#include <cstdio>  // before jpeglib.h, which needs FILE and size_t
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <utility>

#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

struct ErrorManager {
  jpeg_error_mgr base;  // first, so that libjpeg's pointer to it is a pointer to this
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void on_error(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  manager->base.format_message(info, manager->message);
  std::longjmp(manager->jump, 1);
}

// libjpeg continues after damaged data with grey; here that is an error. Harmless oddities of real
// cameras are not.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
      return;
    default:
      on_error(info);
  }
}

void no_output(j_common_ptr) {}

// A progressive file of a few kilobytes can ask for hours of work by thousands of scans over a
// large picture; an encoder writes a dozen.
void on_progress(j_common_ptr info) {
  constexpr std::uint64_t kMaxScans = 500, kMaxVisits = 1ull << 32;  // of pixels: some seconds
  if (!info->is_decompressor) return;
  auto* jpeg = reinterpret_cast<j_decompress_ptr>(info);
  const auto scans = static_cast<std::uint64_t>(jpeg->input_scan_number);
  if (scans > kMaxScans ||
      (scans > 20 && scans * jpeg->image_width * jpeg->image_height > kMaxVisits))
    ERREXIT(info, JERR_BAD_PROGRESSION);
}

void init(ErrorManager& manager) {
  jpeg_std_error(&manager.base);
  manager.base.error_exit = on_error;
  manager.base.emit_message = on_message;
  manager.base.output_message = no_output;
  manager.message[0] = 0;
}

// CMYK is taken to be stored inverted, as Adobe does, also without Adobe's marker: so does Pillow,
// whose rounding this is.
void cmyk_to_rgb(const std::vector<std::uint8_t>& row, std::uint8_t* out) {
  for (std::size_t x = 0; x * 4 < row.size(); ++x) {
    const int k = row[4 * x + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const int t = (255 - row[4 * x + c]) * k + 128;
      out[3 * x + c] = static_cast<std::uint8_t>(k - (((t >> 8) + t) >> 8));
    }
  }
}

struct Decompressor {
  jpeg_decompress_struct jpeg{};
  Decompressor() = default;
  ~Decompressor() { jpeg_destroy_decompress(&jpeg); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
};

struct Decoded {
  Image image;
  std::vector<std::uint8_t> row;
  int orientation = 1;
  bool several_scans = false, header_only = false;
  // A part of the picture instead of all of it, at 1 / reduce of its sides; the rectangle becomes
  // what was decoded.
  const Rectangle* wanted = nullptr;
  int reduce = 1;
  Rectangle got, full;
};

void read_orientation(const jpeg_decompress_struct& jpeg, Decoded& out) {
  for (auto* marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->marker != JPEG_APP0 + 1) continue;
    const int orientation = codecs::exif_orientation({marker->data, marker->data_length});
    if (orientation != 1) out.orientation = orientation;
  }
}

// Restricts the output to the columns wanted, and skips the rows above. Colour is stored at half
// the resolution and blended from its neighbours, so the cut goes through blocks that are thrown
// away.
void cut(jpeg_decompress_struct& jpeg, Decoded& out) {
  constexpr std::int64_t kMargin = 32;
  const Rectangle& w = *out.wanted;
  const std::int64_t full = jpeg.output_width;
  out.got = w;
  out.got.left = std::clamp<std::int64_t>(w.left - kMargin, 0, full - 1);
  const std::int64_t right = std::clamp<std::int64_t>(w.left + w.width + kMargin, 1, full);
  auto left = static_cast<JDIMENSION>(out.got.left);
  auto width = static_cast<JDIMENSION>(right - out.got.left);
  jpeg_crop_scanline(&jpeg, &left, &width);
  out.got.left = left;
  out.got.width = width;
  out.got.height = std::min<std::int64_t>(w.height, jpeg.output_height - w.top);
  if (w.top > 0) jpeg_skip_scanlines(&jpeg, static_cast<JDIMENSION>(w.top));
}

void read_rows(jpeg_decompress_struct& jpeg, Decoded& out) {
  const bool cmyk = jpeg.out_color_space == JCS_CMYK;
  const std::size_t width = jpeg.output_width;
  const auto end = static_cast<JDIMENSION>(out.got.top + out.got.height);
  out.row.resize(width * static_cast<std::size_t>(jpeg.output_components));
  // The pages of reserved memory are taken only as rows arrive: a short file costs little.
  out.image.pixels.reserve(width * static_cast<std::size_t>(out.got.height) * 3);
  while (jpeg.output_scanline < end) {
    JSAMPROW row = out.row.data();
    jpeg_read_scanlines(&jpeg, &row, 1);
    if (cmyk) {
      out.image.pixels.resize(out.image.pixels.size() + width * 3);
      cmyk_to_rgb(out.row, out.image.pixels.data() + out.image.pixels.size() - width * 3);
    } else {
      out.image.pixels.insert(out.image.pixels.end(), out.row.begin(), out.row.end());
    }
  }
}

// False after an error, described in `manager`.
bool open(codecs::Bytes bytes, jpeg_decompress_struct& jpeg, ErrorManager& manager, Decoded& out) {
  jpeg.err = &manager.base;
  if (setjmp(manager.jump) != 0) return false;
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, bytes.data(), bytes.size());
  jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(&jpeg, TRUE);
  out.image.width = jpeg.image_width;
  out.image.height = jpeg.image_height;
  out.several_scans = jpeg_has_multiple_scans(&jpeg);
  read_orientation(jpeg, out);
  return true;
}

// The pixels of an opened file.
bool decode(jpeg_decompress_struct& jpeg, ErrorManager& manager, Decoded& out) {
  if (setjmp(manager.jump) != 0) return false;
  const bool cmyk = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
  jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  if (cmyk || out.orientation != 1) out.wanted = nullptr;
  if (out.wanted != nullptr) {
    jpeg.scale_num = static_cast<unsigned>(8 / out.reduce);
    jpeg.scale_denom = 8;
  }
  jpeg_start_decompress(&jpeg);
  out.full = {0, 0, jpeg.output_height, jpeg.output_width};
  out.got = out.full;
  if (out.wanted != nullptr) cut(jpeg, out);
  read_rows(jpeg, out);
  if (jpeg.output_scanline == jpeg.output_height) jpeg_finish_decompress(&jpeg);
  return true;
}

bool encode(const Image& image, int quality, ErrorManager& manager, unsigned char** buffer,
            unsigned long* size) {
  jpeg_compress_struct jpeg{};
  jpeg.err = &manager.base;
  if (setjmp(manager.jump) != 0) {
    jpeg_destroy_compress(&jpeg);
    return false;
  }
  jpeg_create_compress(&jpeg);
  jpeg_mem_dest(&jpeg, buffer, size);
  jpeg.image_width = static_cast<JDIMENSION>(image.width);
  jpeg.image_height = static_cast<JDIMENSION>(image.height);
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, quality, TRUE);
  jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = 1;
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(image.pixels.data()) +
                static_cast<std::size_t>(jpeg.next_scanline) * jpeg.image_width * 3;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  return true;
}

}  // namespace

namespace {

void decode_or_throw(codecs::Bytes bytes, const std::string& name, Decoded& decoded) {
  ErrorManager manager;
  init(manager);
  jpeg_progress_mgr progress{};
  progress.progress_monitor = on_progress;
  Decompressor decompressor;
  jpeg_decompress_struct& jpeg = decompressor.jpeg;
  const auto need = [&](bool ok) {
    if (!ok) fail_input("{}: damaged or truncated JPEG: {}", name, manager.message);
  };
  need(open(bytes, jpeg, manager, decoded));
  // Of a file in several scans all coefficients are held, two bytes each, beside the pixels.
  codecs::check_extent(static_cast<std::uint64_t>(decoded.image.width),
                       static_cast<std::uint64_t>(decoded.image.height), name,
                       decoded.several_scans ? 3 : 1);
  jpeg.progress = &progress;
  if (!decoded.header_only) need(decode(jpeg, manager, decoded));
}

}  // namespace

codecs::Header codecs::read_jpeg_header(Bytes bytes, const std::string& name) {
  Decoded decoded;
  decoded.header_only = true;
  decode_or_throw(bytes, name, decoded);
  Header header{decoded.image.height, decoded.image.width, decoded.orientation};
  if (header.orientation >= 5) std::swap(header.height, header.width);
  return header;
}

Image codecs::decode_jpeg(Bytes bytes, const std::string& name) {
  Decoded decoded;
  decode_or_throw(bytes, name, decoded);
  return apply_orientation(std::move(decoded.image), decoded.orientation);
}

ImagePart codecs::decode_jpeg_part(Bytes bytes, const std::string& name, const Rectangle& wanted,
                                   int reduce) {
  check(wanted.top >= 0 && wanted.left >= 0 && wanted.height > 0 && wanted.width > 0,
        "decode: a part of {} x {} at ({}, {})", wanted.width, wanted.height, wanted.left,
        wanted.top);
  Decoded decoded;
  decoded.wanted = &wanted;
  decoded.reduce = reduce;
  decode_or_throw(bytes, name, decoded);
  ImagePart part;
  if (decoded.wanted == nullptr) {
    part.image = apply_orientation(std::move(decoded.image), decoded.orientation);
    part.height = part.image.height;
    part.width = part.image.width;
    return part;
  }
  part = {std::move(decoded.image), decoded.got.top, decoded.got.left, decoded.full.height,
          decoded.full.width};
  part.image.height = decoded.got.height;
  part.image.width = decoded.got.width;
  return part;
}

std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality) {
  check(image.width > 0 && image.height > 0 && image.width <= 65500 && image.height <= 65500,
        "encode_jpeg: {} x {} pixels; 1 to 65500 a side can be written", image.width, image.height);
  check(image.pixels.size() == static_cast<std::size_t>(image.width * image.height * 3),
        "encode_jpeg: {} bytes for {} x {} RGB pixels", image.pixels.size(), image.width,
        image.height);
  check(quality >= 1 && quality <= 100, "encode_jpeg: quality {}, want 1..100", quality);
  ErrorManager manager;
  init(manager);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  const bool ok = encode(image, quality, manager, &buffer, &size);
  std::vector<std::uint8_t> bytes(buffer, buffer + (ok ? size : 0));
  std::free(buffer);
  check(ok, "encode_jpeg: {}", manager.message);
  return bytes;
}

}  // namespace nextgrad
