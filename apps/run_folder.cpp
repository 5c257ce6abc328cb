#include "apps/run_folder.h"

#include <system_error>

#include "data/file.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

namespace fs = std::filesystem;

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

}  // namespace

void RunArguments::add_to(CLI::App& app, const Settings& defaults) {
  app.add_option("--config", config, "TOML file of settings; options win over it");
  auto* to = app.add_option("--out", out, "folder of the run")->capture_default_str();
  auto* from = app.add_option("--resume", resume, "folder of a run to continue, bit for bit");
  auto* replace = app.add_flag("--overwrite", overwrite, "replace a run in --out");
  from->excludes(to)->excludes(replace);
  options = std::make_unique<ConfigOptions>(app, defaults);
}

void RunArguments::read(Settings settings, const std::map<std::string, std::string>& given) const {
  const RunFolder run = folder();
  if (!resuming()) {
    if (!config.empty()) load_config(config, settings);
    return apply_options(given, settings);
  }
  if (!fs::exists(run.config()))
    fail_input("{}: no such file, so nothing to resume; start a run with --out {}", run.config(),
               run.path.string());
  load_config(run.config(), settings);
  std::vector<std::string> before;
  for (const auto& s : settings) before.push_back(s.str());
  apply_options(given, settings);
  for (std::size_t i = 0; i < settings.size(); ++i)
    if (!settings[i].resumable && settings[i].str() != before[i])
      fail_input("--{}: cannot change in a resumed run (it is {}); leave it out or start a new run",
                 settings[i].key, before[i]);
}

std::optional<TrainState> RunArguments::state() const {
  // Killed before its first checkpoint, a run starts again from nothing, which is the same.
  if (!resuming() || !fs::exists(folder().state())) return std::nullopt;
  return load_train_state(folder().state());
}

void RunArguments::begin(const std::string& config_text) const {
  const RunFolder run = folder();
  if (resuming())
    remove_leftovers(run);
  else
    prepare_folder(run, overwrite);
  write_file_atomic(run.config(), config_text);
}

// A stop is no failure: it says how to go on.
void RunArguments::end(bool complete, const std::string& command) const {
  const RunFolder run = folder();
  if (complete)
    fmt::print("done: {} and {}\n", run.best(), run.report());
  else
    fmt::print("stopped and saved; go on with: {} --resume '{}'\n", command, run.path.string());
}

void make_absolute(std::string& path) {
  if (!path.empty()) path = fs::absolute(path).lexically_normal().string();
}

}  // namespace nextgrad
