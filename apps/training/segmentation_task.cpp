#include "apps/training/segmentation_task.h"

#include <algorithm>

#include "apps/report/tables.h"
#include "apps/training/label_survey.h"

namespace nextgrad {

TrainTransform train_transform(const TrainConfig& c) {
  TrainTransform t;
  t.crop_h = c.crop.height;
  t.crop_w = c.crop.width;
  t.base_short = std::min(c.base_size.height, c.base_size.width);
  t.base_long = std::max(c.base_size.height, c.base_size.width);
  t.scale_min = c.scale_min;
  t.scale_max = c.scale_max;
  t.flip = c.flip;
  t.cat_max_ratio = c.cat_max_ratio;
  t.photometric.enabled = c.photometric;
  t.reduced_decoding = c.reduced_decoding;
  return t;
}

SegmentationTask::SegmentationTask(const TrainConfig& config, bool has_state) : ClassTask(config) {
  if (!has_state) look_at_labels();
  info_.palette = train_set_->palette();
  SegNeXtConfig architecture = model_config(config, train_set_->num_classes());
  architecture.dropout = config.dropout;
  adopt(std::make_unique<SegNeXt>(architecture), config.crop, has_state);
}

void SegmentationTask::look_at_labels() const {
  const bool own = config_.data == "folder";
  const std::string warnings[] = {
      survey_labels(*train_set_, "train",
                    {.learns = true, .own_folder = own, .pass_damaged = config_.skip_damaged > 0}),
      survey_labels(*val_set_, "val", {.own_folder = own})};
  for (const auto& warning : warnings)
    if (!warning.empty()) say(stderr, warning + "\n");
}

std::int64_t SegmentationTask::iterations() const {
  if (config_.epochs <= 0) return config_.iterations;
  return std::max<std::int64_t>(1, iterations_of(config_.epochs));
}

TrainerOptions SegmentationTask::options() const {
  TrainerOptions o(config_, iterations(), "segnext train");
  o.val_every = config_.val_every;
  o.schedule.kind = parse_schedule(config_.schedule);
  o.schedule.power = config_.power;
  o.schedule.warmup = config_.warmup;
  o.schedule.warmup_ratio = config_.warmup_ratio;
  return o;
}

std::string SegmentationTask::less_memory(bool validating) const {
  if (!validating) return "lower --batch or --crop, or add --recompute";
  return "validate by a sliding window, --val-window 512, or smaller pictures, --val-size 512";
}

std::unique_ptr<Optimizer> SegmentationTask::make_optimizer() {
  const TrainConfig& c = config_;
  const auto rules = segnext_rules(c.head_lr_multiplier);
  if (c.optimizer == "sgd") {
    SGDOptions options;
    options.momentum = c.momentum;
    options.weight_decay = c.weight_decay;
    return std::make_unique<SGD>(model_->named_parameters(), options, rules);
  }
  AdamWOptions options;
  options.weight_decay = c.weight_decay;
  return std::make_unique<AdamW>(model_->named_parameters(), options, rules);
}

SampleMaker SegmentationTask::samples() const {
  return crops_of(*train_set_, train_transform(config_));
}

Variable SegmentationTask::loss(const Batch& batch) {
  CrossEntropyOptions options;
  options.label_smoothing = config_.label_smoothing;
  const Device device = model_->device();
  const Variable logits = model_->forward(Variable(batch.images.to(device)));
  return model_->loss(logits, batch.labels.to(device), options);
}

std::optional<Validation> SegmentationTask::validate(const More& more) {
  std::set<std::int64_t> keep;
  const std::int64_t n = val_set_->size(), shown = std::min(config_.pictures, n);
  for (std::int64_t i = 0; i < shown; ++i) keep.insert(i * n / shown);
  EvalResult result = evaluate(*model_, *val_set_, val_protocol(config_), keep, more);
  if (result.stopped) return std::nullopt;
  shown_ = std::move(result.pictures);
  const Scores scores = result.matrix.scores();
  return Validation{scores.mean_iou, scores_json(result.matrix, info_.classes),
                    fmt::format("mIoU {:.2f}  mAcc {:.2f}  aAcc {:.2f}", 100 * scores.mean_iou,
                                100 * scores.mean_accuracy, 100 * scores.all_accuracy)};
}

}  // namespace nextgrad
