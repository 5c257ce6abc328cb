#include "apps/settings/study.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "apps/settings/presets.h"
#include "apps/studies.h"
#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

Setting preset_setting(std::string& preset) {
  std::vector<std::string> names = preset_names();
  names.insert(names.begin(), "none");
  return {"preset", "recipe of the paper that comes before these settings", preset, names};
}

Settings settings_of_plan(Study& s) {
  return {{"seeds", "a run of each variant for each", s.seeds, 0, kUnlimited},
          {"time-size", "of the picture that is timed", s.time_size, 32, kUnlimited}};
}

// A run's settings but the seed, which the study gives.
Settings settings_of_recipe(TrainConfig& config) {
  Settings all = settings_of(config);
  std::erase_if(all, [](const Setting& s) { return s.key == "seed"; });
  return all;
}

Settings settings_of_variant(StudyVariant& v) {
  Settings all = settings_of_recipe(v.config);
  all.emplace_back("name", "of the variant", v.name);
  for (const auto& [key, figure] : {std::pair("paper.parameters", &v.paper.parameters),
                                    {"paper.multiply-adds", &v.paper.multiply_adds},
                                    {"paper.miou", &v.paper.miou},
                                    {"paper.miou-ms", &v.paper.miou_multi_scale},
                                    {"paper.top-1", &v.paper.top1}})
    all.emplace_back(key, "figure of the paper", *figure, 0, kUnlimited);
  return all;
}

void append(Settings& all, Settings more) {
  std::ranges::move(more, std::back_inserter(all));
}

// A study's file, its entries by what they belong to.
class StudyFile {
 public:
  StudyFile(const std::string& toml, const std::string& file) : file_(file) {
    for (ConfigEntry entry : config_entries(toml, file)) {
      const std::string whole = entry.key;
      const std::string table = take_head(entry.key);
      if (table == "recipe") {
        recipe_.push_back(entry);
      } else if (table == "budget") {
        budgets_[take_head(entry.key)].push_back(entry);
      } else if (table == "variant") {
        add_to_variant(entry, whole);
      } else {
        entry.key = whole;
        if (table != whole) refuse(entry, nearest(table, {"recipe", "budget", "variant"}));
        plan_.push_back(entry);
      }
    }
  }

  Study read(const std::string& budget) const {
    check_budgets(budget);
    Study s;
    s.name = std::filesystem::path(file_).stem().string();
    s.budget = budget;
    Settings plan = settings_of_plan(s);
    plan.emplace_back("title", "of the study", s.title);
    plan.emplace_back("question", "that it is to answer", s.question);
    set_entries(plan_, file_, plan);
    const TrainConfig recipe = read_recipe(s);
    for (const Variant& v : variants_) s.variants.push_back(read_variant(v, recipe, budget));
    check_names(s);
    if (std::min(s.time_size.height, s.time_size.width) <= 32)
      fail_input("{}: time-size {}: more than 32 pixels a side are needed", file_,
                 s.time_size.str());
    if (s.seeds.empty()) fail_input("{}: seeds is empty; give at least one, such as [0]", file_);
    if (std::set(s.seeds.begin(), s.seeds.end()).size() != s.seeds.size())
      fail_input("{}: a seed stands there twice; the run would be the same", file_);
    return s;
  }

 private:
  struct Variant {
    ConfigEntries own;
    std::map<std::string, ConfigEntries> budgets;
  };

  // "recipe" of "recipe.crop", which becomes "crop".
  static std::string take_head(std::string& key) {
    const std::size_t dot = std::min(key.find('.'), key.size());
    const std::string head = key.substr(0, dot);
    key.erase(0, dot + 1);
    return head;
  }
  [[noreturn]] void refuse(const ConfigEntry& e, const std::string& guess) const {
    fail_input("{}:{}: {}: unknown key; {}", file_, e.line, e.key,
               guess.empty() ? "a study has [recipe], [budget.NAME] and [[variant]]"
                             : "did you mean " + guess + "?");
  }
  void add_to_variant(ConfigEntry& entry, const std::string& whole) {
    const auto index = parse_number<std::size_t>(take_head(entry.key));
    if (!index || *index > variants_.size())  // they come in their order
      fail_input("{}:{}: {}: write [[variant]], once for each", file_, entry.line, whole);
    variants_.resize(std::max(variants_.size(), *index + 1));
    if (!entry.key.starts_with("budget.")) return variants_[*index].own.push_back(entry);
    take_head(entry.key);
    variants_[*index].budgets[take_head(entry.key)].push_back(entry);
  }

  // Those of the file, and the one that is asked for, which must be among them.
  void check_budgets(const std::string& asked) const {
    std::vector<std::string> names;
    for (const auto& [name, entries] : budgets_) names.push_back(name);
    const auto need = [&](const std::string& where, const std::string& name) {
      if (budgets_.contains(name)) return;
      fail_input(
          "{}: there is no [budget.{}]; {}", where, name,
          names.empty() ? "the file has none" : fmt::format("choose {}", fmt::join(names, ", ")));
    };
    if (!asked.empty()) need(file_, asked);
    for (const Variant& v : variants_)
      for (const auto& [name, entries] : v.budgets)
        need(fmt::format("{}:{}", file_, entries.front().line), name);
  }

  // The preset, the recipe and the study's budget. The other budgets are read too, for their
  // mistakes.
  TrainConfig read_recipe(Study& s) const {
    TrainConfig chosen = with_budget(s, {});
    for (const auto& [name, entries] : budgets_) {
      if (name == s.budget) {
        chosen = with_budget(s, entries);
      } else {
        Study other;
        with_budget(other, entries);
      }
    }
    return chosen;
  }
  TrainConfig with_budget(Study& s, const ConfigEntries& budget) const {
    std::string preset = "none";
    for (const ConfigEntries* entries : {&recipe_, &budget})
      for (const ConfigEntry& e : *entries)
        if (e.key == "preset") set_entries({e}, file_, {preset_setting(preset)});
    TrainConfig config = preset == "none" ? TrainConfig() : preset_config(preset);
    Settings settings = settings_of_recipe(config);
    settings.push_back(preset_setting(preset));
    set_entries(recipe_, file_, settings);
    append(settings, settings_of_plan(s));
    set_entries(budget, file_, settings);
    return config;
  }

  StudyVariant read_variant(const Variant& from, const TrainConfig& recipe,
                            const std::string& budget) const {
    StudyVariant chosen;
    chosen.config = recipe;
    set_entries(from.own, file_, settings_of_variant(chosen));
    for (const auto& [name, entries] : from.budgets) {
      StudyVariant other;  // read for its mistakes
      set_entries(entries, file_,
                  settings_of_recipe(name == budget ? chosen.config : other.config));
    }
    return chosen;
  }

  void check_names(const Study& s) const {
    if (s.variants.empty())
      fail_input("{}: has no [[variant]], so there is nothing to train", file_);
    std::set<std::string> seen;
    for (const auto& [name, config, paper] : s.variants) {
      constexpr const char* kLetters =
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
      if (name.empty() || name.front() == '.' || name.size() > 64 ||
          name.find_first_not_of(kLetters) != std::string::npos)
        fail_input("{}: a variant's name is {}; a folder is called so: letters, digits, . _ + -",
                   file_, in_quotes(name));
      if (!seen.insert(name).second)
        fail_input("{}: two variants have the name {}; give each its own", file_, name);
    }
  }

  std::string file_;
  ConfigEntries plan_, recipe_;
  std::map<std::string, ConfigEntries> budgets_;
  std::vector<Variant> variants_;
};

}  // namespace

const std::map<std::string, std::string>& shipped_studies() {
  static const std::map<std::string, std::string> all(std::begin(studies::kAll),
                                                      std::end(studies::kAll));
  return all;
}

std::string study_text(const std::string& name_or_file) {
  const auto& shipped = shipped_studies();
  if (const auto at = shipped.find(name_or_file); at != shipped.end()) return at->second;
  if (!std::filesystem::exists(name_or_file)) {
    std::vector<std::string> names;
    for (const auto& [name, text] : shipped) names.push_back(name);
    const std::string guess = nearest(name_or_file, names);
    fail_input("{}: no such file, and no study of that name; {}", name_or_file,
               guess.empty() ? "segnext study list shows them" : "did you mean " + guess + "?");
  }
  return read_text(name_or_file, 1 << 20);
}

std::string study_title(const std::string& toml) {
  for (const ConfigEntry& e : config_entries(toml, "study"))
    if (e.key == "title") return e.value;
  return {};
}

Study read_study(const std::string& name_or_file, const std::string& budget) {
  return parse_study(study_text(name_or_file), name_or_file, budget);
}

Study parse_study(const std::string& toml, const std::string& file, const std::string& budget) {
  return StudyFile(toml, file).read(budget);
}

}  // namespace nextgrad
