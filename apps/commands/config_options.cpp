#include "apps/commands/config_options.h"

#include <fmt/format.h>

#include <variant>

namespace nextgrad {

void ConfigOptions::add_to(Command app, const Settings& defaults) {
  for (const auto& s : defaults) {
    const std::string help = fmt::format("{} [{}]", s.help, s.str());
    if (std::holds_alternative<bool*>(s.target)) {
      options_.emplace_back(s.key, app.flag(fmt::format("--{0},!--no-{0}", s.key), help));
      continue;
    }
    const char* type = std::holds_alternative<std::string*>(s.target) ? "TEXT"
                       : std::holds_alternative<Size*>(s.target)      ? "SIZE"
                                                                      : "N";
    const bool crop = s.key == "crop";  // of `--crop H W` the last does not count alone
    const auto later = [](const std::vector<std::string>&) {};  // given() reads the text
    const Option option = app.text_option("--" + s.key, later, help).takes(type, 1, crop ? 2 : 1);
    options_.emplace_back(s.key, crop ? option : option.last_counts());
  }
}

std::map<std::string, std::string> ConfigOptions::given() const {
  std::map<std::string, std::string> texts;
  for (const auto& [key, option] : options_)
    if (!option.texts().empty())
      texts[key] =
          key == "crop" ? fmt::format("{}", fmt::join(option.texts(), " ")) : option.texts().back();
  return texts;
}

void RunOptions::add_to(Command app, const Settings& defaults) {
  app.option("--config", config, "TOML file of settings; options win over it");
  const Option to = app.option("--out", out, "folder of the run").shows_default();
  const Option from = app.option("--resume", resume, "folder of a run to continue, bit for bit");
  const Option replace = app.flag("--overwrite", overwrite, "replace a run in --out");
  from.excludes(to).excludes(replace);
  options.add_to(app, defaults);
}

}  // namespace nextgrad
