// The folder of a training run, and how a run begins and goes on: what `segnext train` and `segnext
// pretrain` have in common.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "apps/settings/settings.h"
#include "data/files/file.h"
#include "data/weights/train_state.h"

namespace nextgrad {

// One process owns the folder of a run: two would mix their states and logs.
// Holds FOLDER/.lock, which says who does. The system lets go of it when the process ends, however
// it ends.
class RunLock {
 public:
  // Throws InputError that names the process that holds it, or if the folder cannot be written.
  explicit RunLock(const std::string& folder);
  ~RunLock();

 private:
  std::string path_;
  std::unique_ptr<Descriptor> file_;
};

struct RunFolder {
  std::filesystem::path path;
  std::string config() const { return (path / "config.toml").string(); }
  std::string log() const { return (path / "log.jsonl").string(); }
  std::string state() const { return (path / "state.safetensors").string(); }
  std::string last() const { return (path / "last.safetensors").string(); }
  std::string best() const { return (path / "best.safetensors").string(); }
  std::string report() const { return (path / "report.html").string(); }
  // "segnext train --resume 'runs/first'", of the command "segnext train".
  std::string resume_command(const std::string& command) const;
};

// Which run is meant: a new one or the rest of one.
struct RunArguments {
  std::string config, out = "run", resume;
  bool overwrite = false;

  bool resuming() const { return !resume.empty(); }
  RunFolder folder() const { return {resuming() ? resume : out}; }
  // Where a resumed run stopped: takes hold of its folder until this object goes. Nothing for a new
  // run, or one killed before its first checkpoint, which starts again: that is the same. Throws
  // InputError: nothing to resume, weights without their state, a folder in use.
  std::optional<TrainState> open();
  // Sets what the run's file (or --config) says, then what `given`, the options, do. A resumed
  // run's file must say what its state says, but for settings that may change: those are told.
  // Throws InputError.
  void read(Settings settings, const std::map<std::string, std::string>& given,
            const std::optional<TrainState>& state) const;
  // Makes the folder ready and writes config.toml: a former run's files are removed if that was
  // asked for, and refused otherwise; a resumed run loses only what a killed process left
  // half-written.
  void begin(const std::string& config_text);
  // Says how the run ended and how to go on. `command`: "segnext train".
  void end(bool complete, const std::string& command) const;

 private:
  void read_resumed(Settings settings, const std::map<std::string, std::string>& given,
                    const std::optional<TrainState>& state) const;
  std::unique_ptr<RunLock> lock_;
};

// Paths in a run's settings are absolute, so that it can be resumed from anywhere.
void make_absolute(std::string& path);  // leaves an empty one

}  // namespace nextgrad
