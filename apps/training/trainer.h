// The training loop, whatever is trained. Everything an iteration does is a pure function of the
// settings, the state before it, and (seed, iteration): so a run that was interrupted anywhere
// continues bit for bit from its last state file.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "apps/report/progress.h"
#include "apps/training/feed.h"
#include "apps/training/recorded_step.h"
#include "apps/training/run_folder.h"
#include "apps/training/run_log.h"
#include "apps/training/train_task.h"
#include "data/weights/train_state.h"
#include "nn/ema.h"
#include "nn/schedule.h"

namespace nextgrad {

class Trainer {
 public:
  // The task must outlive it. Writes nothing yet.
  explicit Trainer(TrainTask& task) : task_(task), options_(task.options()) {}
  // Trains to the end, or until a signal asks to stop. With `state`, continues from it.
  // Returns false if it was stopped. Throws Error when the loss is not finite, and whatever else
  // goes wrong, having saved what was trained until then; the message says how to go on.
  bool run(const RunFolder& folder, const std::optional<TrainState>& state);

 private:
  void restore(const TrainState& state);
  void loop();
  [[noreturn]] void rescue();  // what was trained, from the exception that is being handled
  std::string keep_sound_state();
  void keep_buffers();
  void take_batch();
  void open_stream();
  bool validation_due() const;
  RecordedStep::Result step(double lr);
  RecordedStep::Result accumulated_step(double lr);
  void train_iteration();
  void measure_speed();
  bool weights_finite() const;
  void check_weights() const;  // throws Error if one is not finite: such weights are never saved
  void show_progress(double loss, double lr);
  bool validate();  // false: interrupted
  void save();
  void write_report();
  std::uint64_t seed() const { return static_cast<std::uint64_t>(options_.seed); }
  std::int64_t images_per_iteration() const { return options_.batch * options_.accumulate; }

  TrainTask& task_;
  TrainerOptions options_;
  RunFolder folder_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;
  std::unique_ptr<RecordedStep> step_;
  std::unique_ptr<Feed> feed_;
  Batch batch_;
  std::unique_ptr<RunLog> log_;
  ProgressLine progress_{stdout};
  std::int64_t iteration_ = 0;  // done
  std::int64_t saved_ = -1;     // iteration of the state file
  std::int64_t validated_ = 0;  // iteration of the last validation
  std::int64_t best_iteration_ = 0;
  double best_ = -1;
  bool stepping_ = false, diverged_ = false, validating_ = false;
  std::vector<Tensor> buffers_;    // the model's, as they were before the present step
  std::set<std::string> skipped_;  // damaged pictures
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

}  // namespace nextgrad
