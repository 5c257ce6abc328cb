#include "apps/settings/settings.h"

#include <algorithm>

#include "data/files/file.h"
#include "data/files/toml.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

template <class T>
T number_of(const std::string& text, const std::string& what, const char* kind) {
  if (const auto value = parse_number<T>(text)) return *value;
  fail_input("{}: '{}' is not {}", what, text, kind);
}

constexpr std::uint32_t kBytes = 0x10ff00;  // U+10FFNN stands for the byte NN

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    std::uint32_t c = 0;
    const std::size_t length = decode_utf8(text, c);
    if (length == 0 || c >= kBytes)
      out += fmt::format("\\U{:08x}", kBytes | static_cast<unsigned char>(text[0]));
    else if (c == '"' || c == '\\')
      out += fmt::format("\\{}", static_cast<char>(c));
    else if (c < 0x20 || (c >= 0x7f && c < 0xa0))
      out += fmt::format("\\u{:04x}", c);
    else
      out += text.substr(0, length);
    text.remove_prefix(length == 0 || c >= kBytes ? 1 : length);
  }
  return out + '"';
}

// What toml_string() was given.
std::string with_bytes(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::uint32_t c = 0;
    const std::size_t length = std::max<std::size_t>(1, decode_utf8(text, c));
    if (c >= kBytes)
      out += static_cast<char>(c & 0xff);
    else
      out += text.substr(0, length);
    text.remove_prefix(length);
  }
  return out;
}

using Kind = ConfigEntry::Kind;

// What a setting takes from a TOML file, by the place of its target's type.
struct Taken {
  const char* wanted;
  std::vector<Kind> kinds;
};
const Taken kTaken[] = {{"a string in quotes", {Kind::text}},
                        {"a number", {Kind::whole, Kind::real}},
                        {"a whole number", {Kind::whole}},
                        {"true or false", {Kind::flag}},
                        {"a number or \"WIDTHxHEIGHT\"", {Kind::text, Kind::whole}},
                        {"a list of whole numbers in brackets", {Kind::list}}};
static_assert(std::size(kTaken) == std::variant_size_v<decltype(Setting::target)>);

// A TOML value as the text that Setting::set reads.
std::pair<Kind, std::string> text_of(const toml::node& node) {
  if (node.is_string()) return {Kind::text, with_bytes(node.as_string()->get())};
  if (node.is_integer()) return {Kind::whole, std::to_string(node.as_integer()->get())};
  if (node.is_floating_point())
    return {Kind::real, fmt::format("{}", node.as_floating_point()->get())};
  if (node.is_boolean()) return {Kind::flag, node.as_boolean()->get() ? "true" : "false"};
  const toml::array* const list = node.as_array();
  if (list == nullptr || !std::ranges::all_of(*list, &toml::node::is_integer))
    return {Kind::other, {}};
  std::vector<std::string> numbers;
  for (const toml::node& number : *list) numbers.push_back(text_of(number).second);
  return {Kind::list, fmt::format("[{}]", fmt::join(numbers, ","))};
}

// The numbers of "7,11", "[7, 11]" or "[]".
std::vector<std::int64_t> parse_list(std::string text, const std::string& what) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  std::erase(text, ' ');
  std::vector<std::int64_t> numbers;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    numbers.push_back(number_of<std::int64_t>(text.substr(at, comma - at), what,
                                              "a list of whole numbers, such as 7,11"));
    at = comma + 1;
  }
  return numbers;
}

void collect(const toml::table& table, const std::string& prefix, ConfigEntries& entries) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (const toml::table* inner = node.as_table()) {
      collect(*inner, name + ".", entries);
    } else if (node.is_array_of_tables()) {
      for (std::size_t i = 0; const toml::node& one : *node.as_array()) {
        const std::string element = fmt::format("{}.{}", name, i++);
        if (one.as_table()->empty())
          entries.push_back({element, key.source().begin.line, Kind::other, {}});
        collect(*one.as_table(), element + ".", entries);
      }
    } else {
      const auto [kind, text] = text_of(node);
      entries.push_back({name, key.source().begin.line, kind, text});
    }
  }
}

}  // namespace

std::string Size::str() const {
  return height == width ? fmt::format("{}", width) : fmt::format("{}x{}", width, height);
}

Size parse_size(const std::string& text, const std::string& what) {
  constexpr const char* kind = "a size: one number, or WIDTHxHEIGHT such as 480x352";
  const auto cut = text.find_first_of("x ");
  const auto one = number_of<std::int64_t>(text.substr(0, cut), what, kind);
  Size size{one, one};
  if (cut != std::string::npos) {
    const auto two = number_of<std::int64_t>(text.substr(cut + 1), what, kind);
    size = text[cut] == 'x' ? Size{two, one} : Size{one, two};
  }
  const auto lo = std::min(size.height, size.width), hi = std::max(size.height, size.width);
  if (hi > 16384 || (lo < 32 && hi != 0))
    fail_input("{}: {} is out of range; sides go from 32 to 16384 pixels", what, text);
  return size;
}

void Setting::set(const std::string& text, const std::string& what) {
  const auto in_range = [&](auto number) {
    const auto value = static_cast<double>(number);
    if (highest >= kUnlimited && !(value >= lowest))
      fail_input("{}: {} is too small; at least {}", what, text, lowest);
    if (!(value >= lowest && value <= highest))
      fail_input("{}: {} is out of range; from {} to {}", what, text, lowest, highest);
    return number;
  };
  if (auto* s = std::get_if<std::string*>(&target)) {
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end())
      fail_input("{}: '{}' is unknown; choose {}", what, text, fmt::join(choices, ", "));
    **s = text;
  } else if (auto* d = std::get_if<double*>(&target)) {
    **d = in_range(number_of<double>(text, what, "a number"));
  } else if (auto* i = std::get_if<std::int64_t*>(&target)) {
    **i = in_range(number_of<std::int64_t>(text, what, "a whole number"));
  } else if (auto* b = std::get_if<bool*>(&target)) {
    if (text != "true" && text != "false") fail_input("{}: '{}' is not true or false", what, text);
    **b = text == "true";
  } else if (auto* size = std::get_if<Size*>(&target)) {
    const Size given = parse_size(text, what);
    if (lowest > 0 && given.height == 0) fail_input("{}: must not be 0", what);
    **size = given;
  } else {
    List numbers = parse_list(text, what);
    for (const std::int64_t number : numbers) in_range(number);
    *std::get<List*>(target) = std::move(numbers);
  }
}

std::string Setting::str() const {
  if (auto* s = std::get_if<std::string*>(&target)) return toml_string(**s);
  if (auto* d = std::get_if<double*>(&target)) return fmt::format("{}", **d);
  if (auto* i = std::get_if<std::int64_t*>(&target)) return fmt::format("{}", **i);
  if (auto* b = std::get_if<bool*>(&target)) return **b ? "true" : "false";
  if (auto* list = std::get_if<List*>(&target)) return fmt::format("[{}]", fmt::join(**list, ", "));
  const Size& size = *std::get<Size*>(target);
  return size.height == size.width ? size.str() : toml_string(size.str());
}

std::set<std::string> load_config(const std::string& file, Settings settings) {
  return load_config_text(read_text(file, 1 << 20), file, std::move(settings));
}

std::set<std::string> load_config_text(const std::string& text, const std::string& name,
                                       Settings settings) {
  return set_entries(config_entries(text, name), name, std::move(settings));
}

ConfigEntries config_entries(const std::string& text, const std::string& name) {
  ConfigEntries entries;
  try {
    collect(toml::parse(text), "", entries);
  } catch (const toml::parse_error& e) {
    fail_input("{}:{}: not valid TOML: {}", name, e.source().begin.line, e.description());
  } catch (const InputError& e) {
    fail_input("{}: {}", name, e.what());
  }
  return entries;
}

std::set<std::string> set_entries(const ConfigEntries& entries, const std::string& name,
                                  Settings settings) {
  std::vector<std::string> keys;
  for (const auto& s : settings) keys.push_back(s.key);
  std::set<std::string> present;
  for (const auto& [key, line, kind, text] : entries) {
    const std::string what = fmt::format("{}:{}: {}", name, line, key);
    const auto at = std::find(keys.begin(), keys.end(), key);
    if (at == keys.end()) {
      const std::string guess = nearest(key, keys);
      fail_input("{}: unknown key; {}", what,
                 guess.empty() ? "--help lists the keys" : "did you mean " + guess + "?");
    }
    Setting& setting = settings[static_cast<std::size_t>(at - keys.begin())];
    const Taken& taken = kTaken[setting.target.index()];
    if (std::ranges::find(taken.kinds, kind) == taken.kinds.end())
      fail_input("{}: should be {}", what, taken.wanted);
    setting.set(text, what);
    present.insert(key);
  }
  return present;
}

std::string config_text(const Settings& settings, const std::string& command) {
  std::string text = fmt::format(
      "# Settings of this run, resolved. Use again with: {} --config FILE --out RUN\n", command);
  for (const auto& s : settings) text += fmt::format("{} = {}  # {}\n", s.key, s.str(), s.help);
  return text;
}

void apply_options(const std::map<std::string, std::string>& given, Settings settings) {
  for (auto& s : settings)
    if (const auto at = given.find(s.key); at != given.end()) s.set(at->second, "--" + s.key);
}

}  // namespace nextgrad
