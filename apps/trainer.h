// The training loop. Everything an iteration does is a pure function of the settings, the state
// before it, and (seed, iteration): so a run that was interrupted anywhere continues bit for bit
// from its last state file.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "apps/checkpoint.h"
#include "apps/config.h"
#include "apps/evaluator.h"
#include "apps/progress.h"
#include "apps/run_log.h"
#include "data/loader.h"
#include "data/train_state.h"
#include "nn/ema.h"
#include "nn/optim.h"
#include "nn/schedule.h"

namespace nextgrad {

// The files of a run's folder.
struct RunFolder {
  std::filesystem::path path;
  std::string config() const { return (path / "config.toml").string(); }
  std::string log() const { return (path / "log.jsonl").string(); }
  std::string state() const { return (path / "state.safetensors").string(); }
  std::string last() const { return (path / "last.safetensors").string(); }
  std::string best() const { return (path / "best.safetensors").string(); }
  std::string report() const { return (path / "report.html").string(); }
};

class Trainer {
 public:
  // Opens the data, builds the model and reads pretrained weights (unless run() will be given a
  // state); writes nothing yet. Throws InputError.
  Trainer(const TrainConfig& config, bool has_state);
  // Trains to the end, or until a signal asks to stop. With `state`, continues from it.
  // Returns false if it was stopped. Throws Error when the loss is not finite.
  bool run(const RunFolder& folder, const std::optional<TrainState>& state);

 private:
  void restore(const TrainState& state);
  double step(double lr, double& grad_norm);
  void train_iteration();
  void check_weights() const;  // throws Error if one is not finite: such weights are never saved
  [[noreturn]] void fail_diverged(const std::string& what, std::int64_t iteration) const;
  void show_progress(double loss, double lr);
  bool validate();  // false: interrupted
  void save();
  void write_report();

  TrainConfig config_;
  RunFolder folder_;
  std::unique_ptr<Dataset> train_set_, val_set_;
  ModelInfo info_;
  std::unique_ptr<SegNeXt> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;
  Schedule schedule_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<RunLog> log_;
  ProgressLine progress_{stdout};
  std::int64_t iteration_ = 0;  // done
  std::int64_t saved_ = -1;     // iteration of the state file
  std::int64_t validated_ = 0;  // iteration of the last validation
  std::int64_t best_iteration_ = 0;
  double best_ = -1;
  std::vector<EvalResult::Picture> pictures_;
  // Since when speed and waiting are measured: 15 to 30 seconds ago, but not before the last
  // validation.
  struct Mark {
    Stopwatch clock;
    double waited = 0;
    std::int64_t iteration = 0;
  };
  Mark window_, next_window_;
  double images_per_second_ = 0, wait_share_ = 0;
};

TrainTransform train_transform(const TrainConfig& config);

}  // namespace nextgrad
