// What is trained. The Trainer runs the loop; a task knows the rest: the data, the model, the loss
// of a batch, what is a good model, and what the report shows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/settings/run_config.h"
#include "apps/training/data_identity.h"
#include "data/stream/loader.h"
#include "nn/module.h"
#include "nn/optim.h"
#include "nn/schedule.h"
#include "tensor/error.h"

namespace nextgrad {

struct Validation {
  double score;           // the larger the better, NaN if there is none: picks best.safetensors
  nlohmann::json record;  // for the log
  std::string summary;    // for the terminal: "mIoU 41.20  mAcc 52.00"
};

// How long and how fast.
struct TrainerOptions {
  std::int64_t batch = 8, accumulate = 1;  // micro-batches of `batch` images make one step
  std::int64_t iterations = 1;             // steps in all
  std::int64_t val_every = 0, checkpoint_every = 0;  // iterations; 0: only at the end
  std::uint64_t seed = 0;
  int workers = 1;
  double clip_grad = 0, ema = 0;  // 0: off
  std::int64_t skip_damaged = 0;  // damaged training pictures that may be left out
  std::string command;            // that trains: "segnext train"
  Schedule schedule;
};

class TrainTask {
 public:
  // After `done` of `all` images; false: stop here.
  using More = std::function<bool(std::int64_t done, std::int64_t all)>;

  virtual ~TrainTask() = default;
  virtual TrainerOptions options() const = 0;
  virtual Module& model() = 0;  // on its device; the same one for the task's life
  virtual std::unique_ptr<Optimizer> make_optimizer() = 0;
  virtual std::shared_ptr<const SampleMaker> samples() const = 0;
  // Mean loss of one micro-batch, inside the RandomScope of its iteration.
  virtual Variable loss(const Batch& batch) = 0;
  // Whether loss() does nothing on the host that depends on the batch, so that a step may be
  // recorded once and replayed for other batches.
  virtual bool recordable() const = 0;
  // Scores the model as it is (with the averaged weights, if there are any); nothing if it was
  // stopped.
  virtual std::optional<Validation> validate(const More& more) = 0;
  // The model as a user takes it away.
  virtual void save_weights(const std::string& path) const = 0;
  // All settings, TOML: kept beside the state.
  virtual std::string settings() const = 0;
  // What it learns from: kept beside the state too.
  virtual DataIdentity data() const = 0;
  // What helps where memory runs out, in training and in validation: "lower --batch".
  virtual std::string less_memory(bool validating) const = 0;
  // report.html from the log, and whether it would show pictures of the last validation.
  virtual std::string report(const std::vector<nlohmann::json>& log,
                             std::int64_t best_iteration) const = 0;
  virtual bool has_pictures() const = 0;
};

// What is common to the options of all tasks: all but val_every and most of the schedule.
TrainerOptions trainer_options(const RunConfig& config, std::int64_t iterations,
                               const char* command);

// Throws InputError where the encoder's last stage, at a 32nd of the crop, would have a single
// value a channel: a batch norm cannot take its variance.
inline void check_batch_norm(std::int64_t batch, std::int64_t height, std::int64_t width) {
  if (batch < 2 && height <= 32 && width <= 32)
    fail_input(
        "--batch {} of {}x{} pixels: batch norm needs more than one value a channel in the "
        "last stage, a 32nd of that; choose a larger --batch or picture",
        batch, width, height);
}

}  // namespace nextgrad
