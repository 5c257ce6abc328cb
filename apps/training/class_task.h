// The task of telling classes apart: what training for segmentation and for classification share.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "apps/inference/checkpoint.h"
#include "apps/report/progress.h"
#include "apps/report/run_report.h"
#include "apps/settings/precision.h"
#include "apps/training/train_task.h"

namespace nextgrad {

// What a run's settings ask of the process: threads, the largest picture. Throws InputError for
// settings that contradict each other.
void prepare_process(const RunConfig& config);
// The variant of the settings, for so many classes.
SegNeXtConfig model_config(const RunConfig& config, int classes);
// Throws InputError where the encoder's last stage, at a 32nd of the crop, would have a single
// value a channel: a batch norm cannot take its variance.
void check_batch_norm(std::int64_t batch, const Size& crop);
// A split as difference() wants it.
nlohmann::json identity_of(const std::string& split, const Dataset& dataset);
nlohmann::json identity_of(const std::string& split, const ClassDataset& dataset);

// `Shown`: what the report shows of a validation.
template <class Config, class Data, class Net, class Shown>
class ClassTask : public TrainTask {
 public:
  Module& model() override { return *model_; }
  void save_weights(const std::string& path) const override {
    nextgrad::save_weights(path, *model_, info_);
  }
  std::string report(const std::vector<nlohmann::json>& log,
                     std::int64_t best_iteration) const override {
    return render_report(run_report(config_, info_, log, shown_, steps_, best_iteration));
  }
  bool has_pictures() const override { return !shown_.empty(); }

 protected:
  // Opens the splits. `by_epochs`: the steps in all are counted by them, not by the iterations.
  ClassTask(const Config& config, bool by_epochs) : config_(config) {
    prepare_process(config);
    train_set_ = open_split(config, "train");
    val_set_ = open_split(config, "val");
    info_.variant = config.variant;
    info_.classes = train_set_->classes();
    steps_ = by_epochs ? std::max<std::int64_t>(1, steps_of(config.epochs)) : config.iterations;
  }
  // Optimiser steps that show each picture so often.
  std::int64_t steps_of(double epochs) const {
    const auto step = static_cast<double>(config_.batch * config_.accumulate);
    return std::llround(epochs * static_cast<double>(train_set_->size()) / step);
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
  // Those that are the same for both tasks.
  TrainerOptions common_options() const {
    TrainerOptions o;
    static_cast<RunConfig&>(o) = config_;
    o.iterations = o.schedule.iterations = steps_;
    o.schedule.base_lr = config_.lr;
    o.settings = config_text(config_);
    std::vector<std::string> names;
    for (const auto& name : info_.classes) names.push_back(printable(name));
    o.data = {{"classes", names},
              {"splits", {identity_of("train", *train_set_), identity_of("val", *val_set_)}}};
    return o;
  }

  Config config_;
  std::unique_ptr<Data> train_set_, val_set_;
  std::int64_t steps_ = 0;  // in all
  ModelInfo info_;
  std::unique_ptr<Net> model_;
  std::vector<Shown> shown_;  // of the last validation
};

}  // namespace nextgrad
