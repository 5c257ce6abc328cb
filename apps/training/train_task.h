// What is trained. The training loop (trainer.h) knows this interface; a task knows the rest: the
// data, the model, the loss of a batch, what is a good model, and what the report shows.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/inference/evaluator.h"
#include "apps/settings/run_config.h"
#include "data/stream/loader.h"
#include "nn/module.h"
#include "nn/optim.h"
#include "nn/schedule.h"
#include "tensor/communicator.h"

namespace nextgrad {

struct Validation {
  double score;           // the larger the better, NaN if there is none: picks best.safetensors
  nlohmann::json record;  // for the log
  std::string summary;    // for the terminal: "mIoU 41.20  mAcc 52.00"
};

// A run's settings, and what they come to for its task.
struct TrainerOptions : RunConfig {  // `iterations`: steps in all
  std::string command;               // that trains, "segnext train"
  std::string settings;              // all of them, TOML: kept beside the state
  // What it learns from, so that it is not resumed on something else: {"classes": [printable names,
  // in order], "splits": [{"name", "samples", "listing": CRC-32 of the samples' names (and
  // classes), in order}]}.
  nlohmann::json data;
  Schedule schedule;
  std::int64_t val_every = 0;  // iterations; 0: only at the end
  // Whether loss() does nothing on the host that depends on the batch, so that a step may be
  // captured once and replayed for other batches.
  bool capturable = true;
  // Whether batches are mixed in mirrored pairs, which then belong to one process (nn/share.h).
  bool mirrored = false;
  // What helps where memory runs out, in training and in validation: "lower --batch".
  std::string less_memory, less_memory_validating;
};

class TrainTask {
 public:
  virtual ~TrainTask() = default;
  virtual TrainerOptions options() const = 0;
  virtual Module& model() = 0;  // on its device; the same one for the task's life
  virtual std::unique_ptr<Optimizer> make_optimizer() = 0;
  virtual SampleMaker samples() const = 0;
  // Mean loss of one micro-batch, inside the RandomScope of its iteration.
  virtual Variable loss(const Batch& batch) = 0;
  // Scores the model as it is (with the averaged weights, if there are any); nothing if it was
  // stopped.
  virtual std::optional<Validation> validate(const More& more) = 0;
  // The model as a user takes it away.
  virtual void save_weights(const std::string& path) const = 0;
  // report.html from the log, and whether it would show pictures of the last validation.
  virtual std::string report(const std::vector<nlohmann::json>& log,
                             std::int64_t best_iteration) const = 0;
  virtual bool has_pictures() const = 0;
};

// Training of SegNeXt on a segmentation data set, and pre-training of the encoder as a classifier.
// They open the data, build the model and read weights to start from (unless a state will be
// restored). All ranks call them at once and have the model of root. Throw InputError.
std::unique_ptr<TrainTask> segmentation_task(const TrainConfig& config, bool has_state,
                                             Communicator& everyone = world());
std::unique_ptr<TrainTask> classification_task(const PretrainConfig& config, bool has_state,
                                               Communicator& everyone = world());

// What their settings say of pictures, for others who show or score them.
TrainTransform train_transform(const TrainConfig& config);
ClassEvalTransform class_eval_transform(const PretrainConfig& config, std::int64_t size,
                                        const Normalize& normalize);
std::string summary_of(const ClassScores& scores);  // "top-1 75.90  top-5 92.90"

}  // namespace nextgrad
