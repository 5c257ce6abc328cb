// segnext train: a new run, or the rest of one.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>

#include "apps/commands.h"
#include "apps/presets.h"
#include "apps/signals.h"
#include "apps/trainer.h"
#include "data/file.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

struct TrainArguments {
  std::string config, preset, out = "run", resume;
  bool overwrite = false;
  std::unique_ptr<ConfigOptions> options;
};

// The settings of the run, of which only some may change on the way.
TrainConfig resumed_config(const RunFolder& run, const ConfigOptions& options) {
  if (!fs::exists(run.config()))
    fail_input("{}: no such file, so nothing to resume; start a run with --out {}", run.config(),
               run.path.string());
  TrainConfig before, after;
  load_config(run.config(), settings_of(before));
  after = before;
  apply_options(options.given(), settings_of(after));
  const auto old_settings = settings_of(before), new_settings = settings_of(after);
  for (std::size_t i = 0; i < old_settings.size(); ++i)
    if (!new_settings[i].resumable && old_settings[i].str() != new_settings[i].str())
      fail_input("--{}: cannot change in a resumed run (it is {}); leave it out or start a new run",
                 old_settings[i].key, old_settings[i].str());
  return after;
}

// Defaults, then the preset, the file and the options.
TrainConfig new_config(const TrainArguments& a) {
  TrainConfig config;
  if (!a.preset.empty()) config = preset_config(a.preset);
  if (!a.config.empty()) load_config(a.config, settings_of(config));
  auto given = a.options->given();
  // A preset knows the kind of data: --data can only mean the folder then.
  if (const auto data = given.find("data"); !a.preset.empty() && data != given.end())
    if (fs::is_directory(data->second)) {
      given["data-root"] = data->second;
      given.erase(data);
    }
  apply_options(given, settings_of(config));
  return config;
}

void resolve_paths(TrainConfig& config) {
  for (std::string* path : {&config.data_root, &config.pretrained})
    if (!path->empty()) *path = fs::absolute(*path).lexically_normal().string();
}

// Makes the folder, or empties it of a former run's files if that was asked for.
void prepare_folder(const RunFolder& run, bool overwrite) {
  const std::string files[] = {run.config(), run.log(),  run.state(),
                               run.last(),   run.best(), run.report()};
  std::error_code error;
  for (const auto& file : files)
    if (fs::exists(file, error) && !overwrite)
      fail_input("{}: a run is there already; add --overwrite, use another --out, or --resume {}",
                 file, run.path.string());
  fs::create_directories(run.path, error);
  if (error || !fs::is_directory(run.path))
    fail_input("{}: cannot be made a folder: {}; choose another --out", run.path.string(),
               error ? error.message() : "something else has this name");
  // Tells whether one can write here before anything is removed.
  AtomicFile probe(run.config());
  for (const auto& file : files) fs::remove(file, error);
}

// What a killed process left half-written.
void remove_leftovers(const RunFolder& run) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run.path, error)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.find(".safetensors.") != std::string::npos ||
                      name.rfind("log.jsonl.", 0) == 0 || name.rfind("report.html.", 0) == 0;
    if (ours && name.ends_with(".tmp")) fs::remove(entry.path(), error);
  }
}

// A stop is no failure: it says how to go on.
void finish(bool complete, const RunFolder& run) {
  if (complete)
    fmt::print("done: {} and {}\n", run.best(), run.report());
  else
    fmt::print("stopped and saved; go on with: segnext train --resume '{}'\n", run.path.string());
}

void run_train(const TrainArguments& a) {
  const bool resuming = !a.resume.empty();
  const RunFolder run{resuming ? a.resume : a.out};
  TrainConfig config;
  std::optional<TrainState> state;
  if (resuming) {
    config = resumed_config(run, *a.options);
    // Killed before its first checkpoint, a run starts again from nothing, which is the same.
    if (fs::exists(run.state())) state = load_train_state(run.state());
  } else {
    config = new_config(a);
    if (!a.preset.empty() && config.pretrained.empty())
      fmt::print(
          "without --pretrained the encoder begins at random; the published figures begin "
          "with ImageNet's weights\n");
  }
  resolve_paths(config);
  Trainer trainer(config, state.has_value());
  if (resuming)
    remove_leftovers(run);
  else
    prepare_folder(run, a.overwrite);
  write_file_atomic(run.config(), config_text(config));
  install_signal_handlers();
  finish(trainer.run(run, state), run);
}

}  // namespace

Command train_command(CLI::App& root) {
  CLI::App* app = root.add_subcommand("train", "Train SegNeXt");
  auto a = std::make_shared<TrainArguments>();
  app->add_option("--config", a->config, "TOML file of settings; options win over it");
  auto* preset =
      app->add_option("--preset", a->preset,
                      "recipe of the paper, such as ade20k-tiny (segnext preset list); a file and "
                      "options win over it");
  auto* out = app->add_option("--out", a->out, "folder of the run")->capture_default_str();
  auto* resume = app->add_option("--resume", a->resume, "folder of a run to continue, bit for bit");
  auto* overwrite = app->add_flag("--overwrite", a->overwrite, "replace a run in --out");
  resume->excludes(out)->excludes(overwrite)->excludes(preset);
  TrainConfig defaults;
  a->options = std::make_unique<ConfigOptions>(*app, settings_of(defaults));
  app->footer(
      "Every option below --overwrite is also a key of the TOML file: `crop = 256`.\n"
      "Examples:\n"
      "  segnext train --out runs/first\n"
      "  segnext train --data camvid --data-root camvid --variant tiny --crop 256 \\\n"
      "      --iterations 1000 --no-photometric --val-size 480x352 --out runs/camvid\n"
      "  segnext train --preset ade20k-tiny --data ADEChallengeData2016 \\\n"
      "      --pretrained mscan_t.pth --batch 4 --accumulate 4 --out runs/ade\n"
      "  segnext train --resume runs/camvid\n"
      "Writes config.toml, log.jsonl, last.safetensors and best.safetensors (PyTorch's names and\n"
      "layout), state.safetensors (to resume) and report.html. Ctrl-C saves and stops.");
  return {app, [a] { run_train(*a); }};
}

}  // namespace nextgrad
