// The formats without compression: BMP and the binary portable pixmaps.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "data/images/codecs.h"
#include "tensor/error.h"

namespace nextgrad::codecs {
namespace {

std::uint32_t little(Bytes bytes, std::size_t at, std::size_t n) {
  std::uint32_t value = 0;
  for (std::size_t i = n; i-- > 0;) value = value << 8 | bytes[at + i];
  return value;
}

// Where a colour is in a pixel of a BMP.
struct Channel {
  std::uint32_t shift = 0, most = 255;
  std::uint8_t of(std::uint32_t pixel) const {
    return static_cast<std::uint8_t>(std::uint64_t{pixel >> shift & most} * 255 / most);
  }
};

struct BmpHeader {
  std::size_t pixels_at, palette_at, colors;
  std::int64_t width, height;
  bool top_down;
  std::size_t bits;
  std::array<Channel, 3> channels;  // red, green, blue; of 16 bits and more
};

Channel channel_of(std::uint32_t mask, const std::string& name) {
  const Channel c{static_cast<std::uint32_t>(std::countr_zero(mask)),
                  mask == 0 ? 0 : mask >> std::countr_zero(mask)};
  if (c.most == 0 || (c.most & (c.most + 1)) != 0)
    fail_input("{}: BMP with the colour mask {:08x}; convert it to PNG", name, mask);
  return c;
}

BmpHeader read_bmp(Bytes bytes, const std::string& name) {
  if (bytes.size() < 54) fail_input("{}: truncated BMP", name);
  const std::uint32_t info = little(bytes, 14, 4), compression = little(bytes, 30, 4);
  if (info < 40 || info > 124) fail_input("{}: BMP of an unknown kind; convert it to PNG", name);
  BmpHeader h{};
  h.pixels_at = little(bytes, 10, 4);
  h.palette_at = 14 + info;
  h.width = static_cast<std::int32_t>(little(bytes, 18, 4));
  h.height = static_cast<std::int32_t>(little(bytes, 22, 4));
  h.top_down = h.height < 0;
  h.height = std::abs(h.height);
  h.bits = little(bytes, 28, 2);
  h.colors = little(bytes, 46, 4);
  if (h.colors == 0 || h.colors > 256) h.colors = 256;
  const bool known = h.bits == 8 || h.bits == 16 || h.bits == 24 || h.bits == 32;
  const bool masks = (compression == 3 || compression == 6) && (h.bits == 16 || h.bits == 32);
  if (!known || (compression != 0 && !masks))
    fail_input("{}: BMP of {} bits a pixel, compression {}; convert it to PNG", name, h.bits,
               compression);
  if (masks && bytes.size() < 66) fail_input("{}: truncated BMP", name);
  for (std::size_t c = 0; c < 3; ++c)
    h.channels[c] = masks ? channel_of(little(bytes, 54 + 4 * c, 4), name)
                          : channel_of(h.bits == 16 ? 0x7c00u >> 5 * c : 0xff0000u >> 8 * c, name);
  if (h.width < 0) fail_input("{}: damaged BMP: width {}", name, h.width);
  check_extent(static_cast<std::uint64_t>(h.width), static_cast<std::uint64_t>(h.height), name);
  return h;
}

// The number that follows in a PNM header, past white space and comments.
std::uint64_t pnm_number(Bytes bytes, std::size_t& at, const std::string& name) {
  const auto space = [](std::uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); };
  while (at < bytes.size() && (space(bytes[at]) || bytes[at] == '#')) {
    if (bytes[at] == '#')
      while (at < bytes.size() && bytes[at] != '\n') ++at;
    else
      ++at;
  }
  const std::size_t begin = at;
  std::uint64_t value = 0;
  while (at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9' && at - begin < 10)
    value = value * 10 + (bytes[at++] - '0');
  if (at == begin || at >= bytes.size() || (!space(bytes[at]) && bytes[at] != '#'))
    fail_input("{}: damaged or truncated PPM header", name);
  return value;
}

struct PnmHeader {
  std::size_t channels, pixels_at;
  std::uint64_t width, height, most;
};

PnmHeader read_pnm(Bytes bytes, const std::string& name) {
  std::size_t at = 2;
  PnmHeader h{};
  h.channels = bytes[1] == '6' ? 3 : 1;
  h.width = pnm_number(bytes, at, name);
  h.height = pnm_number(bytes, at, name);
  h.most = pnm_number(bytes, at, name);
  h.pixels_at = at + 1;  // one white space ends the header
  check_extent(h.width, h.height, name);
  if (h.most < 1 || h.most > 65535) fail_input("{}: damaged PPM: largest value {}", name, h.most);
  return h;
}

}  // namespace

Header read_bmp_header(Bytes bytes, const std::string& name) {
  const BmpHeader h = read_bmp(bytes, name);
  return {h.height, h.width, 1};
}

Header read_pnm_header(Bytes bytes, const std::string& name) {
  const PnmHeader h = read_pnm(bytes, name);
  return {static_cast<std::int64_t>(h.height), static_cast<std::int64_t>(h.width), 1};
}

Image decode_bmp(Bytes bytes, const std::string& name) {
  const BmpHeader h = read_bmp(bytes, name);
  const std::size_t width = static_cast<std::size_t>(h.width);
  const std::size_t height = static_cast<std::size_t>(h.height);
  const std::size_t stride = (width * h.bits / 8 + 3) / 4 * 4;
  if (h.pixels_at > bytes.size() || bytes.size() - h.pixels_at < stride * height)
    fail_input("{}: truncated BMP: {} bytes", name, bytes.size());
  if (h.bits == 8 && h.palette_at + h.colors * 4 > bytes.size())
    fail_input("{}: truncated BMP: no room for its palette", name);
  Image image{h.height, h.width, std::vector<std::uint8_t>(width * height * 3)};
  std::uint8_t* out = image.pixels.data();
  for (std::size_t y = 0; y < height; ++y) {
    const std::size_t row = h.pixels_at + stride * (h.top_down ? y : height - 1 - y);
    for (std::size_t x = 0; x < width; ++x, out += 3) {
      std::uint32_t pixel = little(bytes, row + x * (h.bits / 8), h.bits / 8);
      if (h.bits == 8) {
        if (pixel >= h.colors) fail_input("{}: damaged BMP: colour {} is not there", name, pixel);
        pixel = little(bytes, h.palette_at + pixel * 4, 3);
      }
      for (std::size_t c = 0; c < 3; ++c) out[c] = h.channels[c].of(pixel);
    }
  }
  return image;
}

Image decode_pnm(Bytes bytes, const std::string& name) {
  const auto [channels, at, width, height, most] = read_pnm(bytes, name);
  const std::size_t wide = most > 255 ? 2 : 1, values = width * height * channels;
  if (at > bytes.size() || bytes.size() - at < values * wide)
    fail_input("{}: truncated PPM: {} bytes", name, bytes.size());
  Image image{static_cast<std::int64_t>(height), static_cast<std::int64_t>(width), {}};
  image.pixels.resize(width * height * 3);
  for (std::size_t i = 0; i < values; ++i) {
    std::uint64_t value = bytes[at + i * wide];
    if (wide == 2) value = value << 8 | bytes[at + i * wide + 1];
    // 16 bits lose the lower byte, as in a PNG; other ranges are stretched to 0..255.
    if (most == 65535)
      value >>= 8;
    else if (most != 255)
      value = std::min(value, most) * 255 / most;
    std::uint8_t* out = image.pixels.data() + (channels == 3 ? i : i * 3);
    std::fill_n(out, channels == 3 ? 1 : 3, static_cast<std::uint8_t>(value));
  }
  return image;
}

}  // namespace nextgrad::codecs
