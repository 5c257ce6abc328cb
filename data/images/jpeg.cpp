// JPEG by libjpeg-turbo. Its errors leave through longjmp, so what calls it does so in attempt(),
// and no object with a destructor is made between there and libjpeg.
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
  char message[JMSG_LENGTH_MAX] = "";
  ErrorManager();
};

// False after an error, described in `manager`.
template <class Call>
bool attempt(ErrorManager& manager, const Call& call) {
  if (setjmp(manager.jump) != 0) return false;
  call();
  return true;
}

void on_error(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  manager->base.format_message(info, manager->message);
  std::longjmp(manager->jump, 1);
}

// libjpeg continues after damaged data with grey; here that is an error. Harmless oddities of real
// cameras are not.
void on_message(j_common_ptr info, int level) {
  constexpr int kHarmless[] = {JWRN_EXTRANEOUS_DATA, JWRN_ADOBE_XFORM, JWRN_JFIF_MAJOR,
                               JWRN_TOO_MUCH_DATA};
  const auto* end = std::end(kHarmless);
  if (level < 0 && std::find(kHarmless, end, info->err->msg_code) == end) on_error(info);
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

// In place. CMYK is taken to be stored inverted, as Adobe does, also without Adobe's marker: so
// does Pillow, whose rounding this is.
void cmyk_to_rgb(std::vector<std::uint8_t>& row) {
  for (std::size_t x = 0; x * 4 < row.size(); ++x) {
    const int k = row[4 * x + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const int t = (255 - row[4 * x + c]) * k + 128;
      row[3 * x + c] = static_cast<std::uint8_t>(k - (((t >> 8) + t) >> 8));
    }
  }
}

ErrorManager::ErrorManager() {
  jpeg_std_error(&base);
  base.error_exit = on_error;
  base.emit_message = on_message;
  base.output_message = no_output;
}

// An opened file.
class Decoder {
 public:
  explicit Decoder(codecs::Bytes bytes) : Decoder() {
    attempt_or_throw([&] {
      jpeg_create_decompress(&jpeg_);
      jpeg_mem_src(&jpeg_, bytes.data(), bytes.size());
      jpeg_save_markers(&jpeg_, JPEG_APP0 + 1, 0xffff);
      jpeg_read_header(&jpeg_, TRUE);
    });
    // Of a file in several scans all coefficients are held, two bytes each, beside the pixels.
    codecs::check_extent(jpeg_.image_width, jpeg_.image_height,
                         jpeg_has_multiple_scans(&jpeg_) ? 3 : 1);
    for (auto* m = jpeg_.marker_list; m != nullptr; m = m->next)
      if (const int o = codecs::exif_orientation({m->data, m->data_length}); o != 1)
        orientation_ = o;
    progress_.progress_monitor = on_progress;
    jpeg_.progress = &progress_;
  }

  ~Decoder() { jpeg_destroy_decompress(&jpeg_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  codecs::Header header() const {
    return codecs::upright_header(jpeg_.image_height, jpeg_.image_width, orientation_);
  }

  // All of the picture, or around `wanted` at 1 / reduce of its sides where that can be done.
  ImagePart decode(const Rectangle* wanted, int reduce) {
    const bool cmyk = jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK;
    jpeg_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    if (cmyk || orientation_ != 1) wanted = nullptr;
    if (wanted != nullptr) {
      jpeg_.scale_num = static_cast<unsigned>(8 / reduce);
      jpeg_.scale_denom = 8;
    }
    attempt_or_throw([&] { jpeg_start_decompress(&jpeg_); });
    const std::int64_t height = jpeg_.output_height, width = jpeg_.output_width;
    Rectangle got{0, 0, height, width};
    if (wanted != nullptr) attempt_or_throw([&] { cut(*wanted, got); });
    Image image{got.height, got.width, {}};
    read_rows(got, image.pixels);
    if (wanted == nullptr)
      return codecs::whole_part(codecs::apply_orientation(std::move(image), orientation_));
    return {std::move(image), got.top, got.left, height, width};
  }

 private:
  Decoder() { jpeg_.err = &errors_.base; }  // complete: what throws afterwards calls ~Decoder
  template <class Call>
  void attempt_or_throw(const Call& call) {
    if (!attempt(errors_, call)) fail_input("damaged or truncated JPEG: {}", errors_.message);
  }

  // Restricts the output to the columns wanted, and skips the rows above. Colour is stored at half
  // the resolution and blended from its neighbours, so the cut goes through blocks that are thrown
  // away.
  void cut(const Rectangle& wanted, Rectangle& got) {
    constexpr std::int64_t kMargin = 32;
    const std::int64_t full = jpeg_.output_width;
    auto left =
        static_cast<JDIMENSION>(std::clamp<std::int64_t>(wanted.left - kMargin, 0, full - 1));
    auto width = static_cast<JDIMENSION>(
        std::clamp<std::int64_t>(wanted.left + wanted.width + kMargin, 1, full) - left);
    jpeg_crop_scanline(&jpeg_, &left, &width);
    got = {wanted.top, left,
           std::min<std::int64_t>(wanted.height, jpeg_.output_height - wanted.top), width};
    if (wanted.top > 0) jpeg_skip_scanlines(&jpeg_, static_cast<JDIMENSION>(wanted.top));
  }

  void read_rows(const Rectangle& got, std::vector<std::uint8_t>& pixels) {
    const std::size_t width = jpeg_.output_width;
    const auto end = static_cast<JDIMENSION>(got.top + got.height);
    std::vector<std::uint8_t> row(width * static_cast<std::size_t>(jpeg_.output_components));
    // The pages of reserved memory are taken only as rows arrive: a short file costs little.
    pixels.reserve(width * static_cast<std::size_t>(got.height) * 3);
    attempt_or_throw([&] {
      while (jpeg_.output_scanline < end) {
        JSAMPROW to = row.data();
        jpeg_read_scanlines(&jpeg_, &to, 1);
        if (jpeg_.out_color_space == JCS_CMYK) cmyk_to_rgb(row);
        pixels.insert(pixels.end(), row.data(), row.data() + width * 3);
      }
      if (jpeg_.output_scanline == jpeg_.output_height) jpeg_finish_decompress(&jpeg_);
    });
  }

  ErrorManager errors_;
  jpeg_decompress_struct jpeg_{};
  jpeg_progress_mgr progress_{};
  int orientation_ = 1;
};

void encode(const Image& image, int quality, jpeg_compress_struct& jpeg, unsigned char** buffer,
            unsigned long* size) {
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
}

}  // namespace

codecs::Header codecs::read_jpeg_header(Bytes bytes) {
  return Decoder(bytes).header();
}

Image codecs::decode_jpeg(Bytes bytes) {
  return Decoder(bytes).decode(nullptr, 1).image;
}

ImagePart codecs::decode_jpeg_part(Bytes bytes, const Rectangle& wanted, int reduce) {
  check(wanted.top >= 0 && wanted.left >= 0 && wanted.height > 0 && wanted.width > 0,
        "decode: a part of {} x {} at ({}, {})", wanted.width, wanted.height, wanted.left,
        wanted.top);
  return Decoder(bytes).decode(&wanted, reduce);
}

std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality) {
  check(image.width > 0 && image.height > 0 && image.width <= 65500 && image.height <= 65500,
        "encode_jpeg: {} x {} pixels; 1 to 65500 a side can be written", image.width, image.height);
  check(image.pixels.size() == static_cast<std::size_t>(image.width * image.height * 3),
        "encode_jpeg: {} bytes for {} x {} RGB pixels", image.pixels.size(), image.width,
        image.height);
  check(quality >= 1 && quality <= 100, "encode_jpeg: quality {}, want 1..100", quality);
  ErrorManager manager;
  jpeg_compress_struct jpeg{};
  jpeg.err = &manager.base;
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  const bool ok = attempt(manager, [&] { encode(image, quality, jpeg, &buffer, &size); });
  jpeg_destroy_compress(&jpeg);
  std::vector<std::uint8_t> bytes(buffer, buffer + (ok ? size : 0));
  std::free(buffer);
  check(ok, "encode_jpeg: {}", manager.message);
  return bytes;
}

}  // namespace nextgrad
