// Settings of a command. Every setting has one name: the key in a TOML file (`val-every = 100`) and
// the option (`--val-every 100`); an option wins over the file, the file over the default. A key
// `encoder.gate` is `gate` in the file's table [encoder].
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "data/files/text.h"  // nearest

namespace nextgrad {

// Written 256 (square) or "480x352" (width x height); on the command line also as `H W`. 0 = none.
struct Size {
  std::int64_t height = 0, width = 0;
  bool operator==(const Size&) const = default;
  std::string str() const;  // "256" or "480x352"
};
Size parse_size(const std::string& text, const std::string& what);  // throws InputError

// "No highest value" of a setting.
inline constexpr double kUnlimited = 1e12;

// One setting: where its value is kept and what it may be.
struct Setting {
  template <class Value>  // of those of `target`
  Setting(const char* name, std::string about, Value& value, bool may_change = false)
      : key(name), help(std::move(about)), target(&value), resumable(may_change) {}
  Setting(const char* name, std::string about, std::string& value, std::vector<std::string> may_be,
          bool may_change = false)
      : Setting(name, std::move(about), value, may_change) {
    choices = std::move(may_be);
  }
  template <class Number>  // double, std::int64_t or a list of those; a Size only has a lowest
  Setting(const char* name, std::string about, Number& value, double least, double most,
          bool may_change = false)
      : Setting(name, std::move(about), value, may_change) {
    lowest = least;
    highest = most;
  }

  std::string key, help;
  using List = std::vector<std::int64_t>;  // written [7, 11]; on the command line 7,11 or []
  std::variant<std::string*, double*, std::int64_t*, bool*, Size*, List*> target;
  double lowest = 0,
         highest = kUnlimited;       // numbers, inclusive; a size's lowest: whether it may be 0
  std::vector<std::string> choices;  // strings; empty: anything
  bool resumable = false;            // may be changed when a run is resumed

  void set(const std::string& text, const std::string& what);  // throws InputError naming `what`
  std::string str() const;                                     // as TOML
};
using Settings = std::vector<Setting>;

// Sets what the TOML holds and returns its keys. InputError for a key that does not exist (with the
// file, the line and the nearest key), a wrong type or a value out of range.
std::set<std::string> load_config(const std::string& file, Settings settings);
// The same from text; `name` stands for the file in errors.
std::set<std::string> load_config_text(const std::string& toml, const std::string& name,
                                       Settings settings);

// What a TOML file sets, by keys "table.key", of an array of tables "table.0.key"
// ("table.0" of an empty one).
struct ConfigEntry {
  enum class Kind { text, whole, real, flag, list, other };  // list: of whole numbers
  std::string key;
  std::size_t line;
  Kind kind;
  std::string value;  // as Setting::set reads it
};
using ConfigEntries = std::vector<ConfigEntry>;
// The two halves of load_config_text, for files that are more than the settings of one thing.
ConfigEntries config_entries(const std::string& toml, const std::string& name);
std::set<std::string> set_entries(const ConfigEntries& entries, const std::string& name,
                                  Settings settings);

// All settings as TOML, each key with its explanation. TOML is UTF-8, file names need not be: their
// other bytes 0xNN are written as the private characters U+10FFNN, which load_config reads back.
std::string config_text(const Settings& settings, const std::string& command);

// Sets what the texts of options say, by key. Throws InputError that names the option.
void apply_options(const std::map<std::string, std::string>& given, Settings settings);

}  // namespace nextgrad
