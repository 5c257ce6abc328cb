#include "apps/commands/config_options.h"

#include <fmt/format.h>

#include <variant>

namespace nextgrad {

void ConfigOptions::add_to(CLI::App& app, const Settings& defaults) {
  for (const auto& s : defaults) {
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

void RunOptions::add_to(CLI::App& app, const Settings& defaults) {
  app.add_option("--config", config, "TOML file of settings; options win over it");
  auto* to = app.add_option("--out", out, "folder of the run")->capture_default_str();
  auto* from = app.add_option("--resume", resume, "folder of a run to continue, bit for bit");
  auto* replace = app.add_flag("--overwrite", overwrite, "replace a run in --out");
  from->excludes(to)->excludes(replace);
  options.add_to(app, defaults);
}

}  // namespace nextgrad
