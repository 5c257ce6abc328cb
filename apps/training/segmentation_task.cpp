// Training of SegNeXt on a segmentation data set.
#include <algorithm>
#include <set>

#include "apps/report/tables.h"
#include "apps/training/class_task.h"
#include "apps/training/label_survey.h"

namespace nextgrad {

TrainTransform train_transform(const TrainConfig& c) {
  TrainTransform t = c.transform;
  t.crop_h = c.crop.height;
  t.crop_w = c.crop.width;
  t.base_short = std::min(c.base_size.height, c.base_size.width);
  t.base_long = std::max(c.base_size.height, c.base_size.width);
  return t;
}

namespace {

class SegmentationTask : public ClassTask<TrainConfig, Dataset, Segmenter, EvalResult::Picture> {
 public:
  SegmentationTask(const TrainConfig& config, bool has_state, Communicator& everyone)
      : ClassTask(config, config.epochs > 0, everyone) {
    if (!has_state && everyone.is_root()) look_at_labels();
    info_.palette = train_set_->palette();
    ModelConfig model = training_config(config, train_set_->num_classes());
    model.decoder.dropout = config.dropout;
    model.auxiliary = config.auxiliary > 0;
    const bool pools = model.decoder.kind == DecoderConfig::Kind::aspp ||
                       model.decoder.kind == DecoderConfig::Kind::uper;
    if (pools && config.batch < 2)
      fail_input(
          "--batch {}: decoder.kind {} pools whole images, and batch norm needs more than one "
          "value "
          "a channel there; choose a larger --batch",
          config.batch, config.decoder);
    adopt(std::make_unique<Segmenter>(model), config.crop, has_state);
  }

  TrainerOptions options() const override {
    TrainerOptions o = common_options();
    o.val_every = config_.val_every;
    o.schedule.kind = parse_schedule(config_.schedule);
    o.schedule.power = config_.power;
    o.schedule.warmup = config_.warmup;
    o.schedule.warmup_ratio = config_.warmup_ratio;
    o.less_memory = "lower --batch or --crop, or add --recompute";
    o.less_memory_validating =
        "validate by a sliding window, --val-window 512, or smaller pictures, --val-size 512";
    return o;
  }

  std::unique_ptr<Optimizer> make_optimizer() override {
    const TrainConfig& c = config_;
    const auto parameters = model_->named_parameters();
    const auto rules = segmenter_rules(c.head_lr_multiplier);
    if (c.optimizer == "sgd")
      return std::make_unique<SGD>(
          parameters, SGDOptions{.momentum = c.momentum, .weight_decay = c.weight_decay}, rules);
    return std::make_unique<AdamW>(parameters, AdamWOptions{.weight_decay = c.weight_decay}, rules);
  }

  SampleMaker samples() const override { return crops_of(*train_set_, train_transform(config_)); }

  Variable loss(const Batch& batch) override {
    const Device device = model_->device();
    const auto output = model_->forward_stages(Variable(batch.images.to(device)));
    return model_->loss(output, batch.labels.to(device),
                        {.label_smoothing = config_.label_smoothing}, config_.auxiliary);
  }

  std::optional<Validation> validate(const More& more) override {
    std::set<std::int64_t> keep;
    const std::int64_t n = val_set_->size(), shown = std::min(config_.pictures, n);
    for (std::int64_t i = 0; i < shown; ++i) keep.insert(i * n / shown);
    EvalResult result = evaluate(*model_, *val_set_, val_protocol(config_), keep, more, everyone_);
    if (result.stopped) return std::nullopt;
    shown_ = std::move(result.pictures);
    const Scores scores = result.matrix.scores();
    return Validation{scores.mean_iou, scores_json(result.matrix, info_.classes),
                      fmt::format("mIoU {:.2f}  mAcc {:.2f}  aAcc {:.2f}", 100 * scores.mean_iou,
                                  100 * scores.mean_accuracy, 100 * scores.all_accuracy)};
  }

 private:
  void look_at_labels() const {
    const bool own = config_.data == "folder", pass = config_.skip_damaged > 0;
    for (const auto& warning :
         {survey_labels(*train_set_, "train",
                        {.learns = true, .own_folder = own, .pass_damaged = pass}),
          survey_labels(*val_set_, "val", {.own_folder = own})})
      if (!warning.empty()) say(stderr, warning + "\n");
  }
};

}  // namespace

std::unique_ptr<TrainTask> segmentation_task(const TrainConfig& config, bool has_state,
                                             Communicator& everyone) {
  return std::make_unique<SegmentationTask>(config, has_state, everyone);
}

}  // namespace nextgrad
