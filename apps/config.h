// Settings of a training run. Every setting has one name: the key in a TOML file (`val-every =
// 100`) and the option (`--val-every 100`); an option wins over the file, the file over the
// default.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace nextgrad {

// Written 256 (square) or "480x352" (width x height); on the command line also as `H W`. 0 = none.
struct Size {
  std::int64_t height = 0, width = 0;
  bool operator==(const Size&) const = default;
  std::string str() const;  // "256" or "480x352"
};
Size parse_size(const std::string& text, const std::string& what);  // throws InputError

struct TrainConfig {
  std::string data = "scenes", data_root;
  std::string variant = "nano", pretrained, device = "cpu";
  std::string optimizer = "adamw", schedule = "poly";
  Size crop{128, 128}, val_size{0, 0}, base_size{0, 0};
  std::int64_t batch = 8, accumulate = 1, iterations = 2000, warmup = 100, seed = 0;
  std::int64_t val_every = 500, checkpoint_every = 250, workers = 1, threads = 0, pictures = 6;
  double lr = 6e-4, weight_decay = 0.01, head_lr_multiplier = 1, power = 1, momentum = 0.9;
  double clip_grad = 0, ema = 0, drop_path = -1, dropout = 0.1, label_smoothing = 0;
  double scale_min = 0.5, scale_max = 2, flip = 0.5;
  bool photometric = true, recompute = false, reset_classifier = false;
};

// One setting: where its value is kept and what it may be.
struct Setting {
  std::string key, help;
  std::variant<std::string*, double*, std::int64_t*, bool*, Size*> target;
  double lowest = 0, highest = 0;         // numbers and sizes, inclusive
  std::vector<std::string> choices = {};  // strings; empty: anything
  bool resumable = false;                 // may be changed when a run is resumed

  void set(const std::string& text, const std::string& what);  // throws InputError naming `what`
  std::string str() const;                                     // as TOML
};
std::vector<Setting> settings_of(TrainConfig& config);

// Sets what the TOML file holds. InputError for a key that does not exist (with the file, the line
// and the nearest key), a wrong type or a value out of range.
void load_config(const std::filesystem::path& file, TrainConfig& config);
// The whole configuration as TOML, each key with its explanation.
std::string config_text(TrainConfig config);

// Registers --KEY for every setting; after parsing, given() holds the text of those on the command
// line.
class ConfigOptions {
 public:
  explicit ConfigOptions(CLI::App& app);
  std::map<std::string, std::string> given() const;
  void apply(TrainConfig& config) const;  // throws InputError

 private:
  std::vector<std::pair<std::string, CLI::Option*>> options_;
};

// The candidate with the fewest edits (Levenshtein distance) to `word`; "" when none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace nextgrad
