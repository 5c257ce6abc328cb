// The task of telling classes apart: what training for segmentation and for classification share.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "apps/inference/checkpoint.h"
#include "apps/report/progress.h"
#include "apps/report/report.h"
#include "apps/settings/precision.h"
#include "apps/settings/same.h"
#include "apps/training/train_task.h"
#include "data/files/file.h"
#include "tensor/threads.h"

namespace nextgrad {

// The model of the settings, for so many classes.
inline ModelConfig training_config(const RunConfig& config, int classes) {
  ModelConfig model = model_config(config, classes);
  if (config.drop_path >= 0) model.encoder.drop_path = config.drop_path;
  model.encoder.recompute = config.recompute;
  return model;
}

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
  // Sets up the process and opens the splits. Throws InputError for settings that contradict each
  // other. `by_epochs`: the steps in all are counted by them, not by the iterations.
  ClassTask(const Config& config, bool by_epochs, Communicator& everyone)
      : config_(config), everyone_(everyone) {
    if (config.transform.scale_min > config.transform.scale_max)
      fail_input("--scale-min {} is above --scale-max {}; exchange them",
                 config.transform.scale_min, config.transform.scale_max);
    Device::parse(config.device);  // refuses one that is not there
    everyone.set_time_limit(config.wait_limit);
    set_num_threads(static_cast<int>(config.threads), local_rank(everyone).on_cores);
    set_max_pixels(config.largest_picture);
    train_set_ = open_split(config, "train");
    val_set_ = open_split(config, "val");
    info_.model = config;
    info_.classes = train_set_->classes();
    std::string lines = config_text(config);
    for (const std::string& name : info_.classes) lines += fmt::format("class {}\n", name);
    splits_ = {identity_of("train", *train_set_), identity_of("val", *val_set_)};
    for (const auto& s : splits_) lines += line_of(s.at("name"), s.at("samples"), s.at("listing"));
    require_same(lines, everyone);
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
    if (!has_state && !config_.pretrained.empty() && everyone_.is_root())
      ProgressLine(stdout).message("pretrained " + load_pretrained(*model_, config_.pretrained,
                                                                   config_.reset_classifier,
                                                                   info_.classes));
    // The last stage, at a 32nd of the crop, would have a single value a channel, which has no
    // variance.
    if (config_.batch < 2 && crop.height <= 32 && crop.width <= 32)
      fail_input(
          "--batch {} of {}x{} pixels: batch norm needs more than one value a channel in the last "
          "stage, a 32nd of that; choose a larger --batch or picture",
          config_.batch, crop.width, crop.height);
    // One process reads files for all.
    for (const Parameter& p : model_->named_parameters()) {
      Tensor value = p.value.value();
      everyone_.broadcast(value);
    }
    for (const Buffer& b : model_->named_buffers()) everyone_.broadcast(*b.value);
    const Device device = local_device(config_.device, everyone_);
    model_->to(device);
    set_precision(model_->encoder(), device, config_.precision);
  }
  // Those that are the same for both tasks.
  TrainerOptions common_options() const {
    TrainerOptions o;
    static_cast<RunConfig&>(o) = config_;
    o.iterations = o.schedule.iterations = steps_;
    o.schedule.base_lr = config_.lr;
    o.command = Config::kCommand;
    o.settings = config_text(config_);
    std::vector<std::string> names;
    for (const auto& name : info_.classes) names.push_back(printable(name));
    o.data = {{"classes", names}, {"splits", splits_}};
    return o;
  }

  // A split of TrainerOptions::data.
  static nlohmann::json identity_of(const char* split, const Data& data) {
    return {{"name", split}, {"samples", data.size()}, {"listing", listing_of(data)}};
  }

  Config config_;
  Communicator& everyone_;
  std::unique_ptr<Data> train_set_, val_set_;
  nlohmann::json splits_;   // of TrainerOptions::data
  std::int64_t steps_ = 0;  // in all
  ModelInfo info_;
  std::unique_ptr<Net> model_;
  std::vector<Shown> shown_;  // of the last validation
};

}  // namespace nextgrad
