#include "apps/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr double kMost = 1e12;

template <class T>
T parse_number(const std::string& text, const std::string& what, const char* kind) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail_input("{}: '{}' is not {}", what, text, kind);
  return value;
}

// The text that Setting::set reads, from a TOML value.
std::string text_of(const toml::node& node, const Setting& setting, const std::string& what) {
  const bool is_text = std::holds_alternative<std::string*>(setting.target);
  const bool is_size = std::holds_alternative<Size*>(setting.target);
  const bool is_flag = std::holds_alternative<bool*>(setting.target);
  if (const auto* s = node.as_string(); s != nullptr && (is_text || is_size)) return s->get();
  if (const auto* i = node.as_integer(); i != nullptr && !is_text && !is_flag)
    return std::to_string(i->get());
  if (const auto* f = node.as_floating_point();
      f != nullptr && std::holds_alternative<double*>(setting.target))
    return fmt::format("{}", f->get());
  if (const auto* b = node.as_boolean(); b != nullptr && is_flag)
    return b->get() ? "true" : "false";
  const char* wanted = is_text   ? "a string in quotes"
                       : is_size ? "a number or \"WIDTHxHEIGHT\""
                       : is_flag ? "true or false"
                       : std::holds_alternative<double*>(setting.target) ? "a number"
                                                                         : "a whole number";
  fail_input("{}: should be {}", what, wanted);
}

std::string toml_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

}  // namespace

std::string Size::str() const {
  return height == width ? fmt::format("{}", width) : fmt::format("{}x{}", width, height);
}

Size parse_size(const std::string& text, const std::string& what) {
  constexpr const char* kind = "a size: one number, or WIDTHxHEIGHT such as 480x352";
  const auto cut = text.find_first_of("x ");
  const auto one = parse_number<std::int64_t>(text.substr(0, cut), what, kind);
  Size size{one, one};
  if (cut != std::string::npos) {
    const auto two = parse_number<std::int64_t>(text.substr(cut + 1), what, kind);
    size = text[cut] == 'x' ? Size{two, one} : Size{one, two};
  }
  const auto lo = std::min(size.height, size.width), hi = std::max(size.height, size.width);
  if (hi > 16384 || (lo < 32 && hi != 0))
    fail_input("{}: {} is out of range; sides go from 32 to 16384 pixels", what, text);
  return size;
}

void Setting::set(const std::string& text, const std::string& what) {
  const auto in_range = [&](double value) {
    if (!(value >= lowest && value <= highest)) {
      if (highest >= kMost) fail_input("{}: {} is too small; at least {}", what, text, lowest);
      fail_input("{}: {} is out of range; from {} to {}", what, text, lowest, highest);
    }
  };
  if (auto* s = std::get_if<std::string*>(&target)) {
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end())
      fail_input("{}: '{}' is unknown; choose {}", what, text, fmt::join(choices, ", "));
    **s = text;
  } else if (auto* d = std::get_if<double*>(&target)) {
    const auto value = parse_number<double>(text, what, "a number");
    in_range(value);
    **d = value;
  } else if (auto* i = std::get_if<std::int64_t*>(&target)) {
    const auto value = parse_number<std::int64_t>(text, what, "a whole number");
    in_range(static_cast<double>(value));
    **i = value;
  } else if (auto* b = std::get_if<bool*>(&target)) {
    if (text != "true" && text != "false") fail_input("{}: '{}' is not true or false", what, text);
    **b = text == "true";
  } else {
    const Size size = parse_size(text, what);
    if (lowest > 0 && size.height == 0) fail_input("{}: must not be 0", what);
    *std::get<Size*>(target) = size;
  }
}

std::string Setting::str() const {
  if (auto* s = std::get_if<std::string*>(&target)) return toml_string(**s);
  if (auto* d = std::get_if<double*>(&target)) return fmt::format("{}", **d);
  if (auto* i = std::get_if<std::int64_t*>(&target)) return fmt::format("{}", **i);
  if (auto* b = std::get_if<bool*>(&target)) return **b ? "true" : "false";
  const Size& size = *std::get<Size*>(target);
  return size.height == size.width ? size.str() : toml_string(size.str());
}

std::vector<Setting> settings_of(TrainConfig& c) {
  const std::string or0 = "; 0 = ";
  return {
      {"data",
       "kind of data set: scenes (drawn, needs no file), camvid, folder",
       &c.data,
       0,
       0,
       {"scenes", "camvid", "folder"}},
      {"data-root",
       "folder of camvid, or the TOML file that describes a data set of folders",
       &c.data_root,
       0,
       0,
       {},
       true},
      {"variant",
       "nano, tiny, small, base or large",
       &c.variant,
       0,
       0,
       {"nano", "tiny", "small", "base", "large"}},
      {"pretrained",
       "weights to start from, .pth or .safetensors (then use lr 6e-5, head-lr-multiplier 10)",
       &c.pretrained,
       0,
       0,
       {},
       true},
      {"reset-classifier",
       "start the last layer anew: for pretrained weights of other classes",
       &c.reset_classifier,
       0,
       0,
       {},
       true},
      {"device", "where to compute", &c.device, 0, 0, {}, true},
      {"crop", "training crop in pixels: one number or H W", &c.crop, 32, kMost},
      {"batch", "images per (micro-)batch", &c.batch, 1, 4096},
      {"accumulate", "micro-batches whose gradients make one step", &c.accumulate, 1, 4096},
      {"iterations", "optimiser steps in all", &c.iterations, 1, kMost},
      {"seed", "of weights, order and augmentation", &c.seed, 0, kMost},
      {"optimizer", "adamw or sgd", &c.optimizer, 0, 0, {"adamw", "sgd"}},
      {"lr", "highest learning rate", &c.lr, 0, 100},
      {"head-lr-multiplier", "the decoder learns this many times faster", &c.head_lr_multiplier, 0,
       1000},
      {"weight-decay", "on all weights but those of norms", &c.weight_decay, 0, 10},
      {"momentum", "of sgd", &c.momentum, 0, 1},
      {"schedule",
       "how the learning rate falls: poly or cosine",
       &c.schedule,
       0,
       0,
       {"poly", "cosine"}},
      {"power", "exponent of poly", &c.power, 0, 10},
      {"warmup", "iterations of linear warm-up", &c.warmup, 0, kMost},
      {"clip-grad", "largest norm of the gradient" + or0 + "no limit", &c.clip_grad, 0, kMost},
      {"ema", "decay of averaged weights, such as 0.999" + or0 + "no averaging", &c.ema, 0,
       0.999999},
      {"drop-path", "rate at the last block; -1 = the variant's own", &c.drop_path, -1, 0.95},
      {"dropout", "channel dropout before the classifier", &c.dropout, 0, 0.95},
      {"label-smoothing", "of the cross entropy", &c.label_smoothing, 0, 0.95},
      {"base-size", "fit images into this WIDTHxHEIGHT before scaling" + or0 + "as they are",
       &c.base_size, 0, kMost},
      {"scale-min", "random scale, lower end", &c.scale_min, 0.05, 20},
      {"scale-max", "random scale, upper end", &c.scale_max, 0.05, 20},
      {"flip", "probability of a horizontal flip", &c.flip, 0, 1},
      {"photometric", "random brightness, contrast, saturation and hue", &c.photometric},
      {"val-every",
       "iterations between validations" + or0 + "only at the end",
       &c.val_every,
       0,
       kMost,
       {},
       true},
      {"val-size",
       "validation images are resized to WIDTHxHEIGHT" + or0 + "up to multiples of 32",
       &c.val_size,
       0,
       kMost,
       {},
       true},
      {"pictures", "validation images shown in the report", &c.pictures, 0, 64, {}, true},
      {"checkpoint-every",
       "iterations between checkpoints" + or0 + "only at the end",
       &c.checkpoint_every,
       0,
       kMost,
       {},
       true},
      {"recompute",
       "recompute activations in the backward pass: less memory, more time",
       &c.recompute,
       0,
       0,
       {},
       true},
      {"workers", "threads that load and augment images", &c.workers, 0, 256, {}, true},
      {"threads", "threads that compute" + or0 + "all cores", &c.threads, 0, 1024, {}, true},
  };
}

void load_config(const std::filesystem::path& file, TrainConfig& config) {
  toml::table table;
  try {
    table = toml::parse_file(file.string());
  } catch (const toml::parse_error& e) {
    const auto line = e.source().begin.line;
    if (line == 0) fail_input("{}: cannot be read; give an existing TOML file", file.string());
    fail_input("{}:{}: not valid TOML: {}", file.string(), line, std::string(e.description()));
  }
  auto settings = settings_of(config);
  std::vector<std::string> keys;
  for (const auto& s : settings) keys.push_back(s.key);
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const std::string what =
        fmt::format("{}:{}: {}", file.string(), static_cast<int>(key.source().begin.line), name);
    const auto at = std::find(keys.begin(), keys.end(), name);
    if (at == keys.end()) {
      const std::string guess = nearest(name, keys);
      fail_input(
          "{}: unknown key; {}", what,
          guess.empty() ? "`segnext train --help` lists the keys" : "did you mean " + guess + "?");
    }
    auto& setting = settings[static_cast<std::size_t>(at - keys.begin())];
    setting.set(text_of(node, setting, what), what);
  }
}

std::string config_text(TrainConfig config) {
  std::string text =
      "# Settings of this run, resolved. Use again with: segnext train --config FILE --out RUN\n";
  for (const auto& s : settings_of(config))
    text += fmt::format("{} = {}  # {}\n", s.key, s.str(), s.help);
  return text;
}

ConfigOptions::ConfigOptions(CLI::App& app) {
  TrainConfig defaults;
  for (const auto& s : settings_of(defaults)) {
    const std::string help = fmt::format("{} [{}]", s.help, s.str());
    CLI::Option* option = nullptr;
    if (std::holds_alternative<bool*>(s.target)) {
      option = app.add_flag(fmt::format("--{0},!--no-{0}", s.key), help);
    } else {
      option = app.add_option("--" + s.key,
                              CLI::callback_t([](const CLI::results_t&) { return true; }), help);
      option->type_name(std::holds_alternative<std::string*>(s.target) ? "TEXT"
                        : std::holds_alternative<Size*>(s.target)      ? "SIZE"
                                                                       : "N");
      // Given twice, an option counts the last time; `--crop H W` is why crop cannot.
      if (s.key == "crop")
        option->expected(1, 2);
      else
        option->take_last();
    }
    options_.emplace_back(s.key, option);
  }
}

std::map<std::string, std::string> ConfigOptions::given() const {
  std::map<std::string, std::string> texts;
  for (const auto& [key, option] : options_)
    if (option->count() > 0)
      texts[key] = key == "crop" ? fmt::format("{}", fmt::join(option->results(), " "))
                                 : option->results().back();
  return texts;
}

void ConfigOptions::apply(TrainConfig& config) const {
  const auto texts = given();
  for (auto& s : settings_of(config))
    if (const auto at = texts.find(s.key); at != texts.end()) s.set(at->second, "--" + s.key);
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t fewest = std::max<std::size_t>(2, word.size() / 2) + 1;
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

}  // namespace nextgrad
