// What messages about names are made of.
#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nextgrad {

// The candidate with the fewest edits (Levenshtein distance) to `word`; "" when none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

// The number that all of a text is, as std::from_chars reads it.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                  : std::nullopt;
}

// Whether a name ends so, in any case of its letters (ASCII).
bool ends_in(std::string_view name, std::string_view suffix);

// The first bytes of a text, `most` at most, cut between its characters if it is UTF-8.
std::string shortened(const std::string& text, std::size_t most);

// A name as it can stand in a one-line message: in quotes, plain ASCII, at most 80 bytes of it.
std::string in_quotes(const std::string& name);

// The composed form (NFC) of a name in UTF-8, so that it equals itself however a file system writes
// its accents; any other bytes as they are.
std::string composed(const std::string& name);

// Columns that printable text takes on a terminal, as fmt pads it.
std::size_t width_of(const std::string& text);

// Whether a tensor may be called so: printable ASCII without spaces, not empty.
bool is_plain_name(const std::string& name);

}  // namespace nextgrad
