// Pre-training of the encoder as a classifier.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/inference/class_evaluator.h"
#include "apps/inference/classifier_checkpoint.h"
#include "apps/settings/pretrain_config.h"
#include "apps/training/train_task.h"
#include "data/stream/class_stream.h"

namespace nextgrad {

class ClassificationTask : public TrainTask {
 public:
  // Opens the data, builds the model and reads weights to start from (unless a state will be
  // restored). Throws InputError.
  ClassificationTask(const PretrainConfig& config, bool has_state);
  // Steps in all, and steps of so many epochs.
  std::int64_t iterations() const;
  std::int64_t iterations_of(double epochs) const;

  TrainerOptions options() const override;
  Module& model() override { return *model_; }
  // timm's groups: parameters of one axis (norms, biases, layer scales) do not decay. Fine-tuning
  // as the paper does it exempts the norms alone.
  std::unique_ptr<Optimizer> make_optimizer() override;
  std::shared_ptr<const SampleMaker> samples() const override;
  Variable loss(const Batch& batch) override;
  bool recordable() const override { return false; }  // targets are mixed on the host
  std::optional<Validation> validate(const More& more) override;
  void save_weights(const std::string& path) const override {
    save_classifier(path, *model_, info_);
  }
  std::string settings() const override { return config_text(config_); }
  DataIdentity data() const override;
  std::string less_memory(bool validating) const override;
  std::string report(const std::vector<nlohmann::json>& log,
                     std::int64_t best_iteration) const override;
  bool has_pictures() const override { return !examples_.empty(); }

 private:
  PretrainConfig config_;
  std::unique_ptr<ClassDataset> train_set_, val_set_;
  ClassifierInfo info_;
  BatchMix mix_;
  std::unique_ptr<MSCANClassifier> model_;
  std::vector<ClassExample> examples_;
};

ClassDatasetConfig class_data(const PretrainConfig& config);
ClassTransform class_transform(const PretrainConfig& config);
ClassEvalTransform class_eval_transform(const PretrainConfig& config, const ClassifierInfo& info);
std::string summary_of(const ClassScores& scores);  // "top-1 75.90  top-5 92.90"

}  // namespace nextgrad
