// The formats without compression: BMP and the binary portable pixmaps.
#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad::codecs {
namespace {

// Where a colour is in a pixel of a BMP.
struct Channel {
  std::uint32_t shift = 0, most = 255;
  std::uint8_t of(std::uint32_t pixel) const {
    return static_cast<std::uint8_t>(std::uint64_t{pixel >> shift & most} * 255 / most);
  }
};

Channel channel_of(std::uint32_t mask) {
  const Channel c{static_cast<std::uint32_t>(std::countr_zero(mask)),
                  mask == 0 ? 0 : mask >> std::countr_zero(mask)};
  if (c.most == 0 || (c.most & (c.most + 1)) != 0)
    fail_input("BMP with the colour mask {:08x}; convert it to PNG", mask);
  return c;
}

// As a BMP begins, its numbers little-endian: BITMAPFILEHEADER, BITMAPINFOHEADER, colour masks.
struct [[gnu::packed]] BmpHeader {
  char begins[2];
  std::uint32_t file_bytes, reserved, pixels_at, info_bytes;
  std::int32_t width, height;  // a height below 0: from top to bottom
  std::uint16_t planes, bits;
  std::uint32_t compression, pixel_bytes, resolution[2], colors, important, masks[3];
  std::uint64_t rows() const { return static_cast<std::uint64_t>(std::abs(std::int64_t{height})); }
  bool masked() const { return compression != 0; }
};

BmpHeader read_bmp(Bytes bytes) {
  constexpr std::size_t kMasks = 12;
  BmpHeader h{};
  if (bytes.size() < sizeof(h) - kMasks) fail_input("truncated BMP");
  std::memcpy(&h, bytes.data(), std::min(sizeof(h), bytes.size()));
  if (h.info_bytes < 40 || h.info_bytes > 124)
    fail_input("BMP of an unknown kind; convert it to PNG");
  const bool known = h.bits == 8 || h.bits == 16 || h.bits == 24 || h.bits == 32;
  const bool masks = (h.compression == 3 || h.compression == 6) && (h.bits == 16 || h.bits == 32);
  if (!known || (h.masked() && !masks))
    fail_input("BMP of {} bits a pixel, compression {}; convert it to PNG", int{h.bits},
               std::uint32_t{h.compression});
  if (h.masked() && bytes.size() < sizeof(h)) fail_input("truncated BMP");
  if (h.width < 0) fail_input("damaged BMP: width {}", std::int32_t{h.width});
  check_extent(static_cast<std::uint64_t>(h.width), h.rows());
  if (h.colors == 0 || h.colors > 256) h.colors = 256;
  return h;
}

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

// The number that follows in a PNM header, past white space and comments.
std::uint64_t pnm_number(std::string_view text, std::size_t& at) {
  for (; at < text.size() && (is_space(text[at]) || text[at] == '#'); ++at)
    if (text[at] == '#') at = std::min(text.find('\n', at), text.size() - 1);
  std::uint64_t value = 0;
  const char* first = text.data() + std::min(at, text.size());
  const auto [end, error] = std::from_chars(first, text.data() + text.size(), value);
  at = static_cast<std::size_t>(end - text.data());
  if (error != std::errc() || at == text.size() || (!is_space(*end) && *end != '#'))
    fail_input("damaged or truncated PPM header");
  return value;
}

struct PnmHeader {
  std::size_t channels, pixels_at = 0;
  std::uint64_t width = 0, height = 0, most = 0;
};

PnmHeader read_pnm(Bytes bytes) {
  std::size_t at = 2;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  PnmHeader h{.channels = text[1] == '6' ? 3u : 1u};
  h.width = pnm_number(text, at);
  h.height = pnm_number(text, at);
  h.most = pnm_number(text, at);
  h.pixels_at = at + 1;  // one white space ends the header
  check_extent(h.width, h.height);
  if (h.most < 1 || h.most > 65535) fail_input("damaged PPM: largest value {}", h.most);
  return h;
}

}  // namespace

Header read_bmp_header(Bytes bytes) {
  const BmpHeader h = read_bmp(bytes);
  return {static_cast<std::int64_t>(h.rows()), h.width};
}

Header read_pnm_header(Bytes bytes) {
  const PnmHeader h = read_pnm(bytes);
  return {static_cast<std::int64_t>(h.height), static_cast<std::int64_t>(h.width)};
}

Image decode_bmp(Bytes bytes) {
  const BmpHeader h = read_bmp(bytes);
  const std::size_t width = static_cast<std::size_t>(h.width), height = h.rows();
  const std::size_t wide = h.bits / 8u, stride = (width * wide + 3) / 4 * 4;
  const std::size_t palette = 14 + std::size_t{h.info_bytes};
  if (h.pixels_at > bytes.size() || bytes.size() - h.pixels_at < stride * height)
    fail_input("truncated BMP: {} bytes", bytes.size());
  if (h.bits == 8 && palette + h.colors * std::size_t{4} > bytes.size())
    fail_input("truncated BMP: no room for its palette");
  std::array<Channel, 3> channels;  // red, green, blue
  for (std::size_t c = 0; c < 3; ++c)
    channels[c] = channel_of(h.masked()     ? h.masks[c]
                             : h.bits == 16 ? 0x7c00u >> 5 * c
                                            : 0xff0000u >> 8 * c);
  Image image = plain_image(static_cast<std::int64_t>(height), static_cast<std::int64_t>(width));
  std::uint8_t* out = image.pixels.data();
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* from =
        bytes.data() + h.pixels_at + stride * (h.height < 0 ? y : height - 1 - y);
    for (std::size_t x = 0; x < width; ++x, from += wide, out += 3) {
      std::uint32_t pixel = 0;
      std::memcpy(&pixel, from, wide);
      if (h.bits == 8) {
        if (pixel >= h.colors) fail_input("damaged BMP: colour {} is not there", pixel);
        std::memcpy(&pixel, bytes.data() + palette + pixel * 4, 3);
      }
      for (std::size_t c = 0; c < 3; ++c) out[c] = channels[c].of(pixel);
    }
  }
  return image;
}

Image decode_pnm(Bytes bytes) {
  const auto [channels, at, width, height, most] = read_pnm(bytes);
  const std::size_t wide = most > 255 ? 2 : 1, values = width * height * channels;
  if (at > bytes.size() || bytes.size() - at < values * wide)
    fail_input("truncated PPM: {} bytes", bytes.size());
  Image image = plain_image(static_cast<std::int64_t>(height), static_cast<std::int64_t>(width));
  for (std::size_t i = 0; i < values; ++i) {
    std::uint64_t value = bytes[at + i * wide];
    if (wide == 2) value = value << 8 | bytes[at + i * wide + 1];
    // 16 bits lose the lower byte, as in a PNG; other ranges are stretched to 0..255.
    if (most == 65535)
      value >>= 8;
    else if (most != 255)
      value = std::min(value, most) * 255 / most;
    const std::size_t copies = 3 / channels;
    std::fill_n(image.pixels.data() + i * copies, copies, static_cast<std::uint8_t>(value));
  }
  return image;
}

}  // namespace nextgrad::codecs
