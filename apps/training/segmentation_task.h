// Training of SegNeXt on a segmentation data set.
#pragma once

#include <memory>
#include <string>

#include "apps/inference/evaluator.h"
#include "apps/settings/run_config.h"
#include "apps/training/train_task.h"

namespace nextgrad {

class SegmentationTask : public ClassTask<TrainConfig, Dataset, SegNeXt, EvalResult::Picture> {
 public:
  // Opens the data, builds the model and reads pretrained weights (unless a state will be
  // restored). Throws InputError.
  SegmentationTask(const TrainConfig& config, bool has_state);
  std::int64_t iterations() const override;
  TrainerOptions options() const override;
  std::unique_ptr<Optimizer> make_optimizer() override;
  SampleMaker samples() const override;
  Variable loss(const Batch& batch) override;
  bool recordable() const override { return true; }
  std::optional<Validation> validate(const More& more) override;
  std::string less_memory(bool validating) const override;

 private:
  void look_at_labels() const;
};

TrainTransform train_transform(const TrainConfig& config);

}  // namespace nextgrad
