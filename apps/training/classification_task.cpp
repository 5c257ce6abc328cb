#include "apps/training/classification_task.h"

#include <algorithm>

#include "apps/report/tables.h"
#include "apps/training/label_survey.h"
#include "autograd/loss.h"

namespace nextgrad {

namespace {

ClassTransform class_transform(const PretrainConfig& c) {
  ClassTransform t;
  t.size = c.size;
  t.scale_min = c.scale_min;
  t.scale_max = c.scale_max;
  t.filter = c.interpolation == "bilinear" ? Filter::bilinear : Filter::bicubic;
  t.flip = c.flip;
  t.rand_augment.layers = static_cast<int>(c.rand_augment);
  t.rand_augment.magnitude = c.magnitude;
  t.rand_augment.deviation = c.magnitude_std;
  t.jitter = c.jitter;
  t.erasing.p = c.erasing;
  return t;
}

}  // namespace

ClassEvalTransform class_eval_transform(const PretrainConfig& c, const ModelInfo& info) {
  ClassEvalTransform t;
  t.size = info.size;
  t.share = c.crop_share;
  t.filter = c.interpolation == "bilinear" ? Filter::bilinear : Filter::bicubic;
  t.normalize = info.normalize;
  return t;
}

std::string summary_of(const ClassScores& scores) {
  return fmt::format("top-1 {:.2f}  top-5 {:.2f}", 100 * scores.top1(), 100 * scores.top5());
}

ClassificationTask::ClassificationTask(const PretrainConfig& config, bool has_state)
    : ClassTask(config), mix_{config.mixup, config.cutmix, config.mix_switch} {
  for (const auto& warning : {survey_labels(*train_set_, "train"), survey_labels(*val_set_, "val")})
    if (!has_state && !warning.empty()) say(stderr, warning + "\n");
  info_.size = config.size;
  const int classes = train_set_->num_classes();
  adopt(std::make_unique<MSCANClassifier>(model_config(config, classes).encoder, classes),
        {config.size, config.size}, has_state);
}

std::int64_t ClassificationTask::iterations() const {
  return config_.iterations > 0 ? config_.iterations
                                : std::max<std::int64_t>(1, iterations_of(config_.epochs));
}

TrainerOptions ClassificationTask::options() const {
  const PretrainConfig& c = config_;
  TrainerOptions o(c, iterations(), "segnext pretrain");
  o.val_every = c.val_every > 0 ? std::max<std::int64_t>(1, iterations_of(c.val_every)) : 0;
  o.schedule.kind = Schedule::Kind::cosine;
  o.schedule.min_lr = std::min(c.min_lr, c.lr);
  o.schedule.warmup = std::min(iterations_of(c.warmup), o.iterations / 10);
  return o;
}

std::string ClassificationTask::less_memory(bool) const {
  return "lower --batch or --size, or add --recompute";
}

std::unique_ptr<Optimizer> ClassificationTask::make_optimizer() {
  std::vector<ParameterRule> rules;
  for (const Parameter& p : model_->named_parameters())
    if (p.value.ndim() <= 1) rules.push_back({.contains = p.name, .decay_scale = 0});
  AdamWOptions options;
  options.weight_decay = config_.weight_decay;
  return std::make_unique<AdamW>(model_->named_parameters(), options, rules);
}

SampleMaker ClassificationTask::samples() const {
  return pictures_of(*train_set_, class_transform(config_), mix_);
}

Variable ClassificationTask::loss(const Batch& batch) {
  const Device device = model_->device();
  const MixPlan plan =
      plan_of(mix_, static_cast<std::uint64_t>(config_.seed), batch.iteration, config_.size);
  const Tensor targets = soft_targets(batch.labels.to(Device{}), train_set_->num_classes(),
                                      config_.label_smoothing, plan);
  const Variable logits = model_->forward(Variable(batch.images.to(device)));
  return soft_cross_entropy(logits, targets.to(device));
}

std::optional<Validation> ClassificationTask::validate(const More& more) {
  ClassEvalResult result =
      evaluate_classes(*model_, *val_set_, class_eval_transform(config_, info_), config_.batch,
                       config_.pictures, more);
  if (result.stopped) return std::nullopt;
  shown_ = std::move(result.examples);
  return Validation{result.scores.top1(), scores_json(result.scores), summary_of(result.scores)};
}

}  // namespace nextgrad
