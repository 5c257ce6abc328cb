// PNG by libspng.
#include <spng.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "data/files/file.h"
#include "data/images/codecs.h"
#include "data/images/png_rows.h"
#include "tensor/error.h"

namespace nextgrad {
namespace png {  // named: PngRows::State, compiled with other files, must not hold what is not

using codecs::Bytes;
using Context = std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)>;

// The EXIF orientation in an eXIf chunk. It may stand after the pixels, whose place in memory
// depends on it, so the chunks are gone through here.
int find_orientation(Bytes bytes) {
  constexpr std::size_t kFrame = 12;  // length, type, checksum
  for (std::size_t at = 8; at + kFrame <= bytes.size();) {
    const std::size_t length = std::size_t{bytes[at]} << 24 | std::size_t{bytes[at + 1]} << 16 |
                               std::size_t{bytes[at + 2]} << 8 | bytes[at + 3];
    if (length > bytes.size() - at - kFrame) break;
    if (std::memcmp(bytes.data() + at + 4, "eXIf", 4) == 0)
      return codecs::tiff_orientation(bytes.subspan(at + 8, length));
    at += kFrame + length;
  }
  return 1;
}

// An opened PNG.
class Reader {
 public:
  // Of a whole file in memory, whose header is checked: deflate's best ratio is 1032:1, so a short
  // file cannot make us allocate a huge picture.
  explicit Reader(Bytes bytes) : orientation(find_orientation(bytes)) {
    check(spng_set_png_buffer(context_.get(), bytes.data(), bytes.size()));
    check(spng_get_ihdr(context_.get(), &header));
    codecs::check_extent(header.width, header.height);
    static constexpr std::uint64_t kChannels[7] = {1, 1, 3, 1, 2, 1, 4};
    const std::uint64_t bits = std::uint64_t{header.width} * header.height *
                               kChannels[header.color_type] * header.bit_depth;
    if (bits / 8 / 1032 > bytes.size())
      fail_input("truncated PNG: {} x {} pixels cannot be in {} bytes", header.width, header.height,
                 bytes.size());
  }
  explicit Reader(std::FILE* file) {
    check(spng_set_png_file(context_.get(), file));
    check(spng_get_ihdr(context_.get(), &header));
    spng_exif exif{};
    if (spng_get_exif(context_.get(), &exif) == 0)
      orientation =
          codecs::tiff_orientation({reinterpret_cast<const std::uint8_t*>(exif.data), exif.length});
  }

  std::vector<std::uint8_t> decode(int format) const {
    std::size_t size = 0;
    check(spng_decoded_image_size(context_.get(), format, &size));
    std::vector<std::uint8_t> pixels(size);
    check(spng_decode_image(context_.get(), pixels.data(), size, format, 0));
    check(spng_decode_chunks(context_.get()));  // up to the end: a cut file is an error
    return pixels;
  }
  // The rows in order, as 8-bit RGB. After the last one the file must be whole.
  void begin_rows() const {
    check(spng_decode_image(context_.get(), nullptr, 0, SPNG_FMT_RGB8, SPNG_DECODE_PROGRESSIVE));
  }
  void row(std::span<std::uint8_t> rgb) const {
    const int code = spng_decode_row(context_.get(), rgb.data(), rgb.size());
    if (code != SPNG_EOI) return check(code);
    check(spng_decode_chunks(context_.get()));
  }

  spng_ihdr header{};
  int orientation = 1;

 private:
  static void check(int code) {
    if (code != 0) fail_input("damaged or truncated PNG: {}", spng_strerror(code));
  }
  static Context make_context() {
    Context context(spng_ctx_new(0), &spng_ctx_free);
    if (context == nullptr) throw std::bad_alloc();
    constexpr std::size_t kChunk = 64u << 20;  // also of what text and colour profiles unpack to
    check(spng_set_chunk_limits(context.get(), kChunk, kChunk));
    return context;
  }
  Context context_ = make_context();
};

// Element `x` of a row packed with 1, 2, 4, 8 or 16 bits each, the first in the highest bits.
int unpack(const std::uint8_t* row, std::int64_t x, int bits) {
  if (bits == 8) return row[x];
  if (bits == 16) return row[2 * x] * 256 + row[2 * x + 1];
  const std::int64_t per_byte = 8 / bits;
  const int shift = static_cast<int>(8 - bits * (x % per_byte + 1));
  return row[x / per_byte] >> shift & ((1 << bits) - 1);
}

std::vector<std::uint8_t> encode(std::int64_t height, std::int64_t width, int color_type,
                                 const Palette& palette, const std::vector<std::uint8_t>& pixels) {
  const int channels = color_type == SPNG_COLOR_TYPE_TRUECOLOR ? 3 : 1;
  check(height > 0 && width > 0 && height < (1 << 30) && width < (1 << 30),
        "encode_png: {} x {} pixels cannot be written", width, height);
  check(pixels.size() == static_cast<std::size_t>(height * width * channels),
        "encode_png: {} bytes for {} x {} pixels of {} channels", pixels.size(), width, height,
        channels);
  const Context context(spng_ctx_new(SPNG_CTX_ENCODER), &spng_ctx_free);
  check(context != nullptr, "encode_png: out of memory");
  const auto ok = [](int code) { check(code == 0, "encode_png: {}", spng_strerror(code)); };
  ok(spng_set_option(context.get(), SPNG_ENCODE_TO_BUFFER, 1));
  if (channels == 3) {
    // The largest cost of a prediction's picture. For an overlay of 480 x 360: 7.8 ms and 233 kB
    // instead of the default's 63 ms and 207 kB; every filter at level 1 is 17 ms and 228 kB.
    ok(spng_set_option(context.get(), SPNG_IMG_COMPRESSION_LEVEL, 1));
    ok(spng_set_option(context.get(), SPNG_FILTER_CHOICE, SPNG_FILTER_CHOICE_UP));
  }
  spng_ihdr header{};
  header.width = static_cast<std::uint32_t>(width);
  header.height = static_cast<std::uint32_t>(height);
  header.bit_depth = 8;
  header.color_type = static_cast<std::uint8_t>(color_type);
  ok(spng_set_ihdr(context.get(), &header));
  if (!palette.empty()) {
    spng_plte colors{};
    colors.n_entries = static_cast<std::uint32_t>(palette.size());
    for (std::size_t i = 0; i < palette.size(); ++i)
      colors.entries[i] = {palette[i][0], palette[i][1], palette[i][2], 0};
    ok(spng_set_plte(context.get(), &colors));
  }
  ok(spng_encode_image(context.get(), pixels.data(), pixels.size(), SPNG_FMT_PNG,
                       SPNG_ENCODE_FINALIZE));
  std::size_t size = 0;
  int error = 0;
  void* buffer = spng_get_png_buffer(context.get(), &size, &error);
  ok(error);
  const std::unique_ptr<void, decltype(&std::free)> owner(buffer, &std::free);
  const auto* bytes = static_cast<const std::uint8_t*>(buffer);
  return {bytes, bytes + size};
}

}  // namespace png

using namespace png;

codecs::Header codecs::read_png_header(Bytes bytes) {
  const Reader r(bytes);
  return upright_header(r.header.height, r.header.width, r.orientation);
}

Image codecs::decode_png(Bytes bytes) {
  const Reader r(bytes);
  return apply_orientation({r.header.height, r.header.width, r.decode(SPNG_FMT_RGB8)},
                           r.orientation);
}

ImagePart codecs::decode_png_rows(Bytes bytes, std::int64_t rows) {
  const Reader r(bytes);
  if (r.header.interlace_method != 0 || r.orientation != 1 || rows >= r.header.height)
    return whole_part(decode_png(bytes));
  const std::int64_t width = r.header.width;
  const auto row = static_cast<std::size_t>(3 * width);
  std::vector<std::uint8_t> pixels(row * static_cast<std::size_t>(rows));
  r.begin_rows();
  for (std::size_t at = 0; at < pixels.size(); at += row) r.row(std::span(pixels).subspan(at, row));
  return {{rows, width, std::move(pixels)}, 0, 0, r.header.height, width};
}

struct PngRows::State {
  std::string path;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file;
  Reader reader;
};

PngRows::PngRows(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) fail_input("{}: is no readable file", path);
  decltype(State::file) file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (file == nullptr) fail_input("{}: cannot read: {}", path, std::strerror(errno));
  in_file(path, [&] {
    Reader reader(file.get());
    const auto& header = reader.header;
    height_ = header.height;
    width_ = header.width;
    grey_ = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE ||
            header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;
    if (width_ > 1 << 17 || height_ * width_ > std::int64_t{1} << 33)
      fail_input("{} x {} pixels; at most 131072 a row and 2^33 in all are read", width_, height_);
    if (header.interlace_method != 0)
      fail_input("is interlaced; save it as a plain PNG, its rows are read one by one");
    if (reader.orientation != 1)
      fail_input("is turned by its EXIF orientation; save it upright, without it");
    reader.begin_rows();
    state_.reset(new State{path, std::move(file), std::move(reader)});
  });
}

PngRows::~PngRows() = default;

void PngRows::next(std::span<std::uint8_t> rgb) {
  check(row_ < height_ && rgb.size() == static_cast<std::size_t>(3 * width_),
        "{}: row {} of {}, {} bytes for {} pixels", state_->path, row_, height_, rgb.size(),
        width_);
  ++row_;
  in_file(state_->path, [&] { state_->reader.row(rgb); });
}

LabelMap codecs::decode_png_label(Bytes bytes, const std::map<int, std::uint8_t>* classes) {
  const Reader r(bytes);
  const auto& header = r.header;
  if (header.color_type != SPNG_COLOR_TYPE_INDEXED &&
      header.color_type != SPNG_COLOR_TYPE_GRAYSCALE)
    fail_input("is a colour picture; convert it to class indices (grey or palette PNG)");
  if (r.orientation != 1)
    fail_input("labels with EXIF orientation {}; save them upright, without it", r.orientation);
  std::vector<std::uint8_t> packed = r.decode(SPNG_FMT_RAW);
  if (classes == nullptr && header.bit_depth == 8)
    return {header.height, header.width, std::move(packed)};
  const auto class_of = [&](int value, std::int64_t x, std::int64_t y) {
    if (classes == nullptr) {
      if (value > 255)
        fail_input("label {} at ({}, {}); class indices go to 255 at most", value, x, y);
      return static_cast<std::uint8_t>(value);
    }
    const auto at = classes->find(value);
    if (at == classes->end())
      fail_input(
          "label {} at ({}, {}) is none of the values in the description; add it there or correct "
          "the file",
          value, x, y);
    return at->second;
  };
  const std::int64_t height = header.height, width = header.width;
  const int bits = header.bit_depth;
  LabelMap label{height, width,
                 std::vector<std::uint8_t>(static_cast<std::size_t>(height * width))};
  std::uint8_t* to = label.values.data();
  int last = -1;  // labels come in runs
  std::uint8_t mapped = 0;
  for (std::int64_t y = 0; y < height; ++y) {
    const std::uint8_t* row = packed.data() + y * ((width * bits + 7) / 8);  // of whole bytes
    for (std::int64_t x = 0; x < width; ++x) {
      const int value = unpack(row, x, bits);
      if (value != last) mapped = class_of(value, x, y);
      last = value;
      *to++ = mapped;
    }
  }
  return label;
}

std::vector<std::uint8_t> encode_png(const Image& image) {
  return encode(image.height, image.width, SPNG_COLOR_TYPE_TRUECOLOR, {}, image.pixels);
}

std::vector<std::uint8_t> encode_png(const LabelMap& label, const Palette& palette) {
  check(palette.size() <= 256, "encode_png: a palette of {} colours; at most 256 fit",
        palette.size());
  Palette colors = palette;
  // A decoder must reject an index that has no colour, so the ignored ones get black.
  for (const std::uint8_t value : label.values)
    if (!colors.empty() && value >= colors.size()) colors.resize(std::size_t{value} + 1);
  return encode(label.height, label.width,
                colors.empty() ? SPNG_COLOR_TYPE_GRAYSCALE : SPNG_COLOR_TYPE_INDEXED, colors,
                label.values);
}

}  // namespace nextgrad
