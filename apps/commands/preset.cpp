// segnext preset: the recipes, to look at and to copy.
#include <fmt/format.h>

#include <memory>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/settings/presets.h"

namespace nextgrad {

void preset_command(Command root) {
  const Command app =
      root.subcommand("preset", "List and show the recipes of the papers", help::preset);
  app.needs_subcommand();
  const Command list = app.subcommand("list", "The data sets and variants there are recipes for");
  const Command show = app.subcommand("show", "A recipe as TOML, for segnext train --config");
  auto name = std::make_shared<std::string>();
  show.option("name", *name, "such as ade20k-tiny").required();
  show.does([name] {
    if (const auto phases = preset_phases(*name); !phases.empty()) {
      fmt::print("{}", phases_text(phases));
      return;
    }
    TrainConfig config = preset_config(*name);
    fmt::print("{}", config_text(config));
  });
  list.does([] {
    for (const auto& [data, about] : preset_data())
      fmt::print("{0}-tiny  {0}-small  {0}-base  {0}-large  {0}-b0 ... {0}-b5\n    {1}\n", data,
                 about);
    fmt::print("\nOf several phases, each from the weights of the one before:\n");
    for (const auto& [data, about] : phased_preset_data())
      fmt::print("{0}-tiny ... {0}-large\n    {1}\n", data, about);
  });
}

}  // namespace nextgrad
