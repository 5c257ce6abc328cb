// The folder of a training run, and how a run begins and goes on: what `segnext train` and `segnext
// pretrain` have in common.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "apps/settings.h"
#include "data/train_state.h"

namespace nextgrad {

struct RunFolder {
  std::filesystem::path path;
  std::string config() const { return (path / "config.toml").string(); }
  std::string log() const { return (path / "log.jsonl").string(); }
  std::string state() const { return (path / "state.safetensors").string(); }
  std::string last() const { return (path / "last.safetensors").string(); }
  std::string best() const { return (path / "best.safetensors").string(); }
  std::string report() const { return (path / "report.html").string(); }
};

// --config, --out, --resume, --overwrite and an option for each setting.
struct RunArguments {
  std::string config, out = "run", resume;
  bool overwrite = false;
  std::unique_ptr<ConfigOptions> options;

  void add_to(CLI::App& app, const Settings& defaults);
  bool resuming() const { return !resume.empty(); }
  RunFolder folder() const { return {resuming() ? resume : out}; }
  // Sets what the run's file (or --config) says, then what `given`, the options, do. Throws
  // InputError: nothing to resume, a setting that cannot change on the way.
  void read(Settings settings, const std::map<std::string, std::string>& given) const;
  // Where a resumed run stopped; nothing for a new one.
  std::optional<TrainState> state() const;
  // Makes the folder ready and writes config.toml: a former run's files are removed if that was
  // asked for, and refused otherwise; a resumed run loses only what a killed process left
  // half-written.
  void begin(const std::string& config_text) const;
  // Says how the run ended and how to go on. `command`: "segnext train".
  void end(bool complete, const std::string& command) const;
};

// Paths in a run's settings are absolute, so that it can be resumed from anywhere.
void make_absolute(std::string& path);  // leaves an empty one

}  // namespace nextgrad
