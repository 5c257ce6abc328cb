// Training of SegNeXt on a segmentation data set.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/inference/evaluator.h"
#include "apps/settings/run_config.h"
#include "apps/training/train_task.h"

namespace nextgrad {

class SegmentationTask : public ClassTask<TrainConfig, Dataset, SegNeXt> {
 public:
  // Opens the data, builds the model and reads pretrained weights (unless a state will be
  // restored). Throws InputError.
  SegmentationTask(const TrainConfig& config, bool has_state);
  std::int64_t iterations() const;  // steps in all
  TrainerOptions options() const override;
  std::unique_ptr<Optimizer> make_optimizer() override;
  SampleMaker samples() const override;
  Variable loss(const Batch& batch) override;
  bool recordable() const override { return true; }
  std::optional<Validation> validate(const More& more) override;
  std::string less_memory(bool validating) const override;
  std::string report(const std::vector<nlohmann::json>& log,
                     std::int64_t best_iteration) const override;
  bool has_pictures() const override { return !pictures_.empty(); }

 private:
  void look_at_labels() const;
  std::vector<EvalResult::Picture> pictures_;
};

TrainTransform train_transform(const TrainConfig& config);

}  // namespace nextgrad
