// segnext train: a new run, or the rest of one.
#include <filesystem>
#include <memory>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/report/progress.h"
#include "apps/settings/presets.h"
#include "apps/training/phases.h"
#include "apps/training/trainer.h"

namespace nextgrad {
namespace {

// Defaults, then the preset, the file and the options.
TrainConfig read_config(const RunOptions& a, const std::string& preset,
                        const std::optional<TrainState>& state) {
  TrainConfig config;
  auto given = a.given;
  if (given.contains("iterations")) {
    if (given.contains("epochs")) fail_input("--epochs and --iterations exclude each other");
    given["epochs"] = "0";  // those of a file
  }
  if (!preset.empty()) {
    config = preset_config(preset);
    // A preset knows the kind of data: --data can be the folder then.
    if (const auto data = given.find("data");
        data != given.end() && std::filesystem::is_directory(data->second)) {
      given["data-root"] = data->second;
      given.erase(data);
    }
  }
  a.read(settings_of(config), given, state);
  if (!preset.empty() && config.pretrained.empty())
    say(stdout,
        "without --pretrained the encoder begins at random; the published figures begin "
        "with ImageNet's weights\n");
  return config;
}

// Those of the preset, the file or the resumed folder; none: one run.
std::vector<Phase> phases_of(const RunOptions& a, const std::string& preset) {
  if (a.resuming())
    return std::filesystem::exists(phases_file(a)) ? read_phases(phases_file(a))
                                                   : std::vector<Phase>();
  if (!a.config.empty()) {
    auto phases = read_phases(a.config);
    if (!phases.empty() && !preset.empty())
      fail_input("{}: has phases of its own; leave --preset out", a.config);
    return phases;
  }
  return preset_phases(preset);
}

void run_train(RunOptions& a, const std::string& preset) {
  if (auto phases = phases_of(a, preset); !phases.empty())
    return run_phases(a, std::move(phases), a.given);
  const auto state = a.open_for_all();
  TrainConfig config = read_config(a, preset, state);
  make_absolute(config.data_root);
  make_absolute(config.pretrained);
  run_training(*segmentation_task(config, state.has_value()), a, state);
}

}  // namespace

void train_command(Command root) {
  const Command app = root.subcommand("train", "Train SegNeXt", help::train);
  auto a = std::make_shared<RunOptions>();
  auto preset = std::make_shared<std::string>();
  app.option("--preset", *preset,
             "recipe of the paper, such as ade20k-tiny (segnext preset list); a file and "
             "options win over it");
  TrainConfig defaults;
  a->add_to(app, settings_of(defaults));
  app.named("--resume").excludes(app.named("--preset"));
  app.does([a, preset] { run_train(*a, *preset); });
}

}  // namespace nextgrad
