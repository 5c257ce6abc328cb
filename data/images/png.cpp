// PNG by libspng.
#include <spng.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

using Context = std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)>;

struct Reader {
  Context context;
  spng_ihdr header;
  const std::string& name;
  int orientation = 1;
  void check(int code) const {
    if (code != 0) fail_input("{}: damaged or truncated PNG: {}", name, spng_strerror(code));
  }
};

// The EXIF orientation in an eXIf chunk. It may stand after the pixels, whose place in memory
// depends on it, so the chunks are gone through here.
int find_orientation(codecs::Bytes bytes) {
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

// Opens the file and checks that it can hold what its header promises: deflate's best ratio is
// 1032:1, so a short file cannot make us allocate a huge picture.
Reader open(codecs::Bytes bytes, const std::string& name) {
  Reader r{Context(spng_ctx_new(0), &spng_ctx_free), {}, name, find_orientation(bytes)};
  if (r.context == nullptr) fail("{}: out of memory", name);
  constexpr std::size_t kChunk = 64u << 20;  // also of what text and colour profiles unpack to
  r.check(spng_set_chunk_limits(r.context.get(), kChunk, kChunk));
  r.check(spng_set_png_buffer(r.context.get(), bytes.data(), bytes.size()));
  r.check(spng_get_ihdr(r.context.get(), &r.header));
  codecs::check_extent(r.header.width, r.header.height, name);
  static constexpr std::uint64_t kChannels[7] = {1, 1, 3, 1, 2, 1, 4};
  const std::uint64_t bits = std::uint64_t{r.header.width} * r.header.height *
                             kChannels[r.header.color_type] * r.header.bit_depth;
  if (bits / 8 / 1032 > bytes.size())
    fail_input("{}: truncated PNG: {} x {} pixels cannot be in {} bytes", name, r.header.width,
               r.header.height, bytes.size());
  return r;
}

std::vector<std::uint8_t> decode(const Reader& r, int format) {
  std::size_t size = 0;
  r.check(spng_decoded_image_size(r.context.get(), format, &size));
  std::vector<std::uint8_t> pixels(size);
  r.check(spng_decode_image(r.context.get(), pixels.data(), size, format, 0));
  r.check(spng_decode_chunks(r.context.get()));  // up to the end: a cut file is an error
  return pixels;
}

// Element `x` of a row packed with 1, 2, 4 or 8 bits each, the first in the highest bits.
std::uint8_t unpack(const std::uint8_t* row, std::int64_t x, int bits) {
  if (bits == 8) return row[x];
  const std::int64_t per_byte = 8 / bits;
  const int shift = static_cast<int>(8 - bits * (x % per_byte + 1));
  return static_cast<std::uint8_t>(row[x / per_byte] >> shift & ((1 << bits) - 1));
}

std::vector<std::uint8_t> encode(const spng_ihdr& header, const Palette& palette,
                                 const std::vector<std::uint8_t>& pixels) {
  const Context context(spng_ctx_new(SPNG_CTX_ENCODER), &spng_ctx_free);
  check(context != nullptr, "encode_png: out of memory");
  const auto ok = [](int code) { check(code == 0, "encode_png: {}", spng_strerror(code)); };
  ok(spng_set_option(context.get(), SPNG_ENCODE_TO_BUFFER, 1));
  if (header.color_type == SPNG_COLOR_TYPE_TRUECOLOR) {
    // The largest cost of a prediction's picture. For an overlay of 480 x 360: 7.8 ms and 233 kB
    // instead of the default's 63 ms and 207 kB; every filter at level 1 is 17 ms and 228 kB.
    ok(spng_set_option(context.get(), SPNG_IMG_COMPRESSION_LEVEL, 1));
    ok(spng_set_option(context.get(), SPNG_FILTER_CHOICE, SPNG_FILTER_CHOICE_UP));
  }
  spng_ihdr copy = header;
  ok(spng_set_ihdr(context.get(), &copy));
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

spng_ihdr header_of(std::int64_t height, std::int64_t width, std::size_t bytes, int channels,
                    int color_type) {
  check(height > 0 && width > 0 && height < (1 << 30) && width < (1 << 30),
        "encode_png: {} x {} pixels cannot be written", width, height);
  check(bytes == static_cast<std::size_t>(height * width * channels),
        "encode_png: {} bytes for {} x {} pixels of {} channels", bytes, width, height, channels);
  spng_ihdr header{};
  header.width = static_cast<std::uint32_t>(width);
  header.height = static_cast<std::uint32_t>(height);
  header.bit_depth = 8;
  header.color_type = static_cast<std::uint8_t>(color_type);
  return header;
}

}  // namespace

codecs::Header codecs::read_png_header(Bytes bytes, const std::string& name) {
  const Reader r = open(bytes, name);
  Header header{r.header.height, r.header.width, r.orientation};
  if (header.orientation >= 5) std::swap(header.height, header.width);
  return header;
}

Image codecs::decode_png(Bytes bytes, const std::string& name) {
  const Reader r = open(bytes, name);
  return apply_orientation({r.header.height, r.header.width, decode(r, SPNG_FMT_RGB8)},
                           r.orientation);
}

ImagePart codecs::decode_png_rows(Bytes bytes, const std::string& name, std::int64_t rows) {
  const Reader r = open(bytes, name);
  ImagePart part;
  if (r.header.interlace_method != 0 || r.orientation != 1 || rows >= r.header.height) {
    part.image = decode_png(bytes, name);
    part.height = part.image.height;
    part.width = part.image.width;
    return part;
  }
  part.height = r.header.height;
  part.width = r.header.width;
  const auto row = static_cast<std::size_t>(3 * part.width);
  part.image = {rows, part.width, std::vector<std::uint8_t>(row * static_cast<std::size_t>(rows))};
  r.check(spng_decode_image(r.context.get(), nullptr, 0, SPNG_FMT_RGB8, SPNG_DECODE_PROGRESSIVE));
  for (std::int64_t y = 0; y < rows; ++y)
    r.check(spng_decode_row(r.context.get(),
                            part.image.pixels.data() + static_cast<std::size_t>(y) * row, row));
  return part;
}

namespace {

struct Values {
  std::int64_t height, width;
  int bits;
  std::vector<std::uint8_t> packed;  // rows of whole bytes
};

Values read_values(codecs::Bytes bytes, const std::string& name) {
  const Reader r = open(bytes, name);
  if (r.header.color_type != SPNG_COLOR_TYPE_INDEXED &&
      r.header.color_type != SPNG_COLOR_TYPE_GRAYSCALE)
    fail_input("{}: is a colour picture; convert it to class indices (grey or palette PNG)", name);
  if (r.orientation != 1)
    fail_input("{}: labels with EXIF orientation {}; save them upright, without it", name,
               r.orientation);
  return {r.header.height, r.header.width, r.header.bit_depth, decode(r, SPNG_FMT_RAW)};
}

// `class_of(value, x, y)` says what stands in the map for a value of the file.
template <class ClassOf>
LabelMap map_values(const Values& v, const ClassOf& class_of) {
  LabelMap label{v.height, v.width, {}};
  label.values.resize(static_cast<std::size_t>(v.height * v.width));
  const std::int64_t stride = (v.width * v.bits + 7) / 8;
  std::uint8_t* out = label.values.data();
  for (std::int64_t y = 0; y < v.height; ++y) {
    const std::uint8_t* row = v.packed.data() + y * stride;
    for (std::int64_t x = 0; x < v.width; ++x)
      *out++ =
          class_of(v.bits < 16 ? unpack(row, x, v.bits) : row[2 * x] * 256 + row[2 * x + 1], x, y);
  }
  return label;
}

}  // namespace

LabelMap codecs::decode_png_label(Bytes bytes, const std::string& name) {
  Values v = read_values(bytes, name);
  if (v.bits == 8) return {v.height, v.width, std::move(v.packed)};
  return map_values(v, [&](int value, std::int64_t x, std::int64_t y) {
    if (value > 255)
      fail_input("{}: label {} at ({}, {}); class indices go to 255 at most", name, value, x, y);
    return static_cast<std::uint8_t>(value);
  });
}

LabelMap codecs::decode_png_label(Bytes bytes, const std::string& name,
                                  const std::map<int, std::uint8_t>& classes) {
  int last = -1;  // labels come in runs
  std::uint8_t mapped = 0;
  return map_values(read_values(bytes, name), [&](int value, std::int64_t x, std::int64_t y) {
    if (value == last) return mapped;
    const auto at = classes.find(value);
    if (at == classes.end())
      fail_input(
          "{}: label {} at ({}, {}) is none of the values in the description; add it there "
          "or correct the file",
          name, value, x, y);
    last = value;
    return mapped = at->second;
  });
}

std::vector<std::uint8_t> encode_png(const Image& image) {
  return encode(
      header_of(image.height, image.width, image.pixels.size(), 3, SPNG_COLOR_TYPE_TRUECOLOR), {},
      image.pixels);
}

std::vector<std::uint8_t> encode_png(const LabelMap& label, const Palette& palette) {
  check(palette.size() <= 256, "encode_png: a palette of {} colours; at most 256 fit",
        palette.size());
  Palette colors = palette;
  // A decoder must reject an index that has no colour, so the ignored ones get black.
  for (const std::uint8_t value : label.values)
    if (!colors.empty() && value >= colors.size()) colors.resize(std::size_t{value} + 1);
  const int type = colors.empty() ? SPNG_COLOR_TYPE_GRAYSCALE : SPNG_COLOR_TYPE_INDEXED;
  return encode(header_of(label.height, label.width, label.values.size(), 1, type), colors,
                label.values);
}

}  // namespace nextgrad
