// The training stream of a classifier.
#pragma once

#include "data/augment/batch_mix.h"
#include "data/augment/class_transforms.h"
#include "data/datasets/class_dataset.h"
#include "data/stream/loader.h"

namespace nextgrad {

// Augmented pictures, mixed within their batch. The data set must outlive it.
class ClassMaker : public SampleMaker {
 public:
  ClassMaker(const ClassDataset& dataset, const ClassTransform& transform, const BatchMix& mix)
      : dataset_(dataset), transform_(transform), mix_(mix) {}
  std::int64_t size() const override { return dataset_.size(); }
  std::string name(std::int64_t index) const override { return dataset_.name(index); }
  Shape image_shape() const override { return {transform_.size, transform_.size, 3}; }
  Shape label_shape() const override { return {}; }
  void validate() const override { transform_.validate(); }
  void make(std::int64_t index, const RandomKey& key, std::span<float> image,
            std::span<std::int32_t> label) const override;
  void finish(const RandomKey& key, std::span<float> images) const override;

 private:
  const ClassDataset& dataset_;
  ClassTransform transform_;
  BatchMix mix_;
};

// How batch `iteration` of the stream was mixed, for its targets.
MixPlan plan_of(const BatchMix& mix, std::uint64_t seed, std::int64_t iteration, std::int64_t size);

}  // namespace nextgrad
