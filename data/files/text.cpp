#include "data/files/text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

namespace nextgrad {

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t fewest = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0]++;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t change = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < fewest) {
      fewest = row.back();
      best = candidate;
    }
  }
  return best;
}

bool ends_in(std::string_view name, std::string_view suffix) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return name.size() >= suffix.size() &&
         std::equal(suffix.rbegin(), suffix.rend(), name.rbegin(),
                    [&](char a, char b) { return lower(a) == lower(b); });
}

std::string shortened(const std::string& text, std::size_t most) {
  if (text.size() <= most) return text;
  std::size_t end = most;  // a character has three bytes at most that continue it
  while (end + 3 > most && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

std::string in_quotes(const std::string& name) {
  using nlohmann::json;
  return json(shortened(name, 80)).dump(-1, ' ', true, json::error_handler_t::replace);
}

std::string composed(const std::string& name) {
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> form(
      utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(name.c_str())), &std::free);
  // It ends at a zero byte, which no file's name has.
  return form && name.find('\0') == name.npos ? reinterpret_cast<const char*>(form.get()) : name;
}

std::size_t width_of(const std::string& text) {
  // Padded to as many columns as it has bytes, which are no fewer.
  return 2 * text.size() - fmt::format("{:<{}}", text, text.size()).size();
}

bool is_plain_name(const std::string& name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > 32 && c < 127; });
}

}  // namespace nextgrad
