// Pre-training of the encoder as a classifier.
#include <algorithm>

#include "apps/report/tables.h"
#include "apps/training/class_task.h"
#include "apps/training/label_survey.h"
#include "autograd/loss.h"

namespace nextgrad {
namespace {

Filter filter_of(const PretrainConfig& c) {
  return c.interpolation == "bilinear" ? Filter::bilinear : Filter::bicubic;
}

class ClassificationTask
    : public ClassTask<PretrainConfig, ClassDataset, Classifier, ClassExample> {
 public:
  ClassificationTask(const PretrainConfig& config, bool has_state, Communicator& everyone)
      : ClassTask(config, config.iterations == 0, everyone) {
    if (!has_state && everyone.is_root())
      for (const auto& warning :
           {survey_labels(*train_set_, "train"), survey_labels(*val_set_, "val")})
        if (!warning.empty()) say(stderr, warning + "\n");
    info_.size = config.transform.size;
    const int classes = train_set_->num_classes();
    adopt(std::make_unique<Classifier>(training_config(config, classes).encoder, classes),
          {info_.size, info_.size}, has_state);
  }

  TrainerOptions options() const override {
    const PretrainConfig& c = config_;
    TrainerOptions o = common_options();
    o.val_every = c.val_every > 0 ? std::max<std::int64_t>(1, steps_of(c.val_every)) : 0;
    o.schedule.kind = Schedule::Kind::cosine;
    o.schedule.min_lr = std::min(c.min_lr, c.lr);
    o.schedule.warmup = std::min(steps_of(c.warmup), o.iterations / 10);
    o.capturable = false;  // targets are mixed on the host
    o.mirrored = c.mix.enabled();
    o.less_memory = o.less_memory_validating = "lower --batch or --size, or add --recompute";
    return o;
  }

  // timm's groups: parameters of one axis (norms, biases, layer scales) do not decay. Fine-tuning
  // as the paper does it exempts the norms alone.
  std::unique_ptr<Optimizer> make_optimizer() override {
    std::vector<ParameterRule> rules;
    for (const Parameter& p : model_->named_parameters())
      if (p.value.ndim() <= 1) rules.push_back({.contains = p.name, .decay_scale = 0});
    return std::make_unique<AdamW>(model_->named_parameters(),
                                   AdamWOptions{.weight_decay = config_.weight_decay}, rules);
  }

  SampleMaker samples() const override {
    ClassTransform transform = config_.transform;
    transform.filter = filter_of(config_);
    return pictures_of(*train_set_, transform, config_.mix);
  }

  Variable loss(const Batch& batch) override {
    const Device device = model_->device();
    const MixPlan plan =
        plan_of(config_.mix, static_cast<std::uint64_t>(config_.seed), batch.iteration, info_.size);
    const Tensor targets = soft_targets(batch.labels.to(Device{}), train_set_->num_classes(),
                                        config_.label_smoothing, plan);
    const Variable logits = model_->forward(Variable(batch.images.to(device)));
    return soft_cross_entropy(logits, targets.to(device));
  }

  std::optional<Validation> validate(const More& more) override {
    ClassEvalResult result = evaluate_classes(
        *model_, *val_set_, class_eval_transform(config_, info_.size, info_.normalize),
        share_of_batch(config_.batch, everyone_), config_.pictures, more, everyone_);
    if (result.stopped) return std::nullopt;
    shown_ = std::move(result.examples);
    return Validation{result.scores.top1(), scores_json(result.scores), summary_of(result.scores)};
  }
};

}  // namespace

ClassEvalTransform class_eval_transform(const PretrainConfig& c, std::int64_t size,
                                        const Normalize& normalize) {
  return {.size = size, .share = c.crop_share, .filter = filter_of(c), .normalize = normalize};
}

std::string summary_of(const ClassScores& scores) {
  return fmt::format("top-1 {:.2f}  top-5 {:.2f}", 100 * scores.top1(), 100 * scores.top5());
}

std::unique_ptr<TrainTask> classification_task(const PretrainConfig& config, bool has_state,
                                               Communicator& everyone) {
  return std::make_unique<ClassificationTask>(config, has_state, everyone);
}

}  // namespace nextgrad
