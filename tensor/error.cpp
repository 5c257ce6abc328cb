#include "tensor/error.h"

#include <utf8proc.h>

#include <algorithm>

namespace nextgrad {

std::size_t decode_utf8(std::string_view text, std::uint32_t& code) {
  std::int32_t decoded = 0;
  const auto length = utf8proc_iterate(reinterpret_cast<const std::uint8_t*>(text.data()),
                                       static_cast<std::ptrdiff_t>(text.size()), &decoded);
  code = static_cast<std::uint32_t>(decoded);
  return length > 0 ? static_cast<std::size_t>(length) : 0;
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::uint32_t c = 0;
    const std::size_t length = decode_utf8(text, c);
    const bool steers = (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
                        (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    if (length == 0)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c < 0x20 || c == 0x7f)
      out += fmt::format("\\x{:02x}", c);
    else if (steers)
      out += fmt::format("\\u{:04x}", c);
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

}  // namespace nextgrad
