// What is trained. The Trainer runs the loop; a task knows the rest: the data, the model, the loss
// of a batch, what is a good model, and what the report shows.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/report/progress.h"
#include "apps/report/run_report.h"
#include "apps/settings/precision.h"
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

// A run's settings, and what they come to for its task.
struct TrainerOptions : RunConfig {
  // `iterations`: steps in all. `command`: that trains, "segnext train".
  TrainerOptions(const RunConfig& config, std::int64_t iterations, const char* command);
  std::int64_t val_every = 0;  // iterations; 0: only at the end
  std::string command;
  Schedule schedule;
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
  // What it learns from (data_identity.h): kept beside the state too.
  virtual nlohmann::json data() const = 0;
  // What helps where memory runs out, in training and in validation: "lower --batch".
  virtual std::string less_memory(bool validating) const = 0;
  // report.html from the log, and whether it would show pictures of the last validation.
  virtual std::string report(const std::vector<nlohmann::json>& log,
                             std::int64_t best_iteration) const = 0;
  virtual bool has_pictures() const = 0;
};

// What a run's settings ask of the process: threads, the largest picture. Throws InputError for
// settings that contradict each other.
void prepare_process(const RunConfig& config);
// The variant of the settings, for so many classes.
SegNeXtConfig model_config(const RunConfig& config, int classes);
// Throws InputError where the encoder's last stage, at a 32nd of the crop, would have a single
// value a channel: a batch norm cannot take its variance.
void check_batch_norm(std::int64_t batch, const Size& crop);

// The task of telling classes apart: what segmentation and classification share.
// `Shown`: what the report shows of a validation.
template <class Config, class Data, class Net, class Shown>
class ClassTask : public TrainTask {
 public:
  virtual std::int64_t iterations() const = 0;  // steps in all
  // Optimiser steps that show each picture so often.
  std::int64_t iterations_of(double epochs) const {
    const auto step = static_cast<double>(config_.batch * config_.accumulate);
    return std::llround(epochs * static_cast<double>(train_set_->size()) / step);
  }
  Module& model() override { return *model_; }
  void save_weights(const std::string& path) const override {
    nextgrad::save_weights(path, *model_, info_);
  }
  std::string settings() const override { return config_text(config_); }
  nlohmann::json data() const override {
    std::vector<std::string> names;
    for (const auto& name : info_.classes) names.push_back(printable(name));
    return {{"classes", names},
            {"splits", {identity_of("train", *train_set_), identity_of("val", *val_set_)}}};
  }
  std::string report(const std::vector<nlohmann::json>& log,
                     std::int64_t best_iteration) const override {
    return render_report(run_report(config_, info_, log, shown_, iterations(), best_iteration));
  }
  bool has_pictures() const override { return !shown_.empty(); }

 protected:
  // Opens the splits.
  explicit ClassTask(const Config& config) : config_(config) {
    prepare_process(config);
    train_set_ = open_split(config, "train");
    val_set_ = open_split(config, "val");
    info_.variant = config.variant;
    info_.classes = train_set_->classes();
  }
  // Gives the model its first numbers (those to start from, unless a state will be restored) and
  // its place.
  void adopt(std::unique_ptr<Net> model, const Size& crop, bool has_state) {
    model_ = std::move(model);
    init_parameters(*model_, static_cast<std::uint64_t>(config_.seed));
    if (!has_state && !config_.pretrained.empty())
      ProgressLine(stdout).message("pretrained " + load_pretrained(*model_, config_.pretrained,
                                                                   config_.reset_classifier,
                                                                   info_.classes));
    check_batch_norm(config_.batch, crop);
    const Device device = Device::parse(config_.device);
    model_->to(device);
    set_precision(encoder_of(*model_), device, config_.precision);
  }

  Config config_;
  std::unique_ptr<Data> train_set_, val_set_;
  ModelInfo info_;
  std::unique_ptr<Net> model_;
  std::vector<Shown> shown_;  // of the last validation
};

}  // namespace nextgrad
