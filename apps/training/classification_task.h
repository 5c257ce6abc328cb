// Pre-training of the encoder as a classifier.
#pragma once

#include <memory>
#include <string>

#include "apps/inference/evaluator.h"
#include "apps/settings/run_config.h"
#include "apps/training/train_task.h"

namespace nextgrad {

class ClassificationTask
    : public ClassTask<PretrainConfig, ClassDataset, MSCANClassifier, ClassExample> {
 public:
  // Opens the data, builds the model and reads weights to start from (unless a state will be
  // restored). Throws InputError.
  ClassificationTask(const PretrainConfig& config, bool has_state);
  std::int64_t iterations() const override;
  TrainerOptions options() const override;
  // timm's groups: parameters of one axis (norms, biases, layer scales) do not decay. Fine-tuning
  // as the paper does it exempts the norms alone.
  std::unique_ptr<Optimizer> make_optimizer() override;
  SampleMaker samples() const override;
  Variable loss(const Batch& batch) override;
  bool recordable() const override { return false; }  // targets are mixed on the host
  std::optional<Validation> validate(const More& more) override;
  std::string less_memory(bool validating) const override;

 private:
  BatchMix mix_;
};

ClassEvalTransform class_eval_transform(const PretrainConfig& config, const ModelInfo& info);
std::string summary_of(const ClassScores& scores);  // "top-1 75.90  top-5 92.90"

}  // namespace nextgrad
