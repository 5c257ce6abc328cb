// What is done to the samples of a data set before a network is trained on them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "data/augment/batch_mix.h"
#include "data/augment/class_transforms.h"
#include "data/augment/transforms.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

// Makes the samples of a stream. Any thread may call any function at any time.
struct SampleMaker {
  std::int64_t size;   // samples of the data set
  Shape image, label;  // of one sample: [H,W,3]; [H,W] (segmentation) or [] (classification)
  std::function<std::string(std::int64_t)> name;
  // Writes picture number `index`, augmented by `key`'s numbers, and its labels.
  std::function<void(std::int64_t index, const RandomKey& key, std::span<float> image,
                     std::span<std::int32_t> label)>
      make;
  // The last touch, once all samples [N, image] of a batch are made. `key`: of (seed, iteration)
  // and no sample; its `use` is the maker's to choose.
  std::function<void(const RandomKey& key, std::span<float> images)> finish =
      [](const RandomKey&, std::span<float>) {};
};

// Crops of pictures and of their label maps. The data set must outlive it. Throws Error for a
// transform that makes no sense.
SampleMaker crops_of(const Dataset& dataset, const TrainTransform& transform);
// Augmented pictures of one class each, mixed within their batch. The same holds.
SampleMaker pictures_of(const ClassDataset& dataset, const ClassTransform& transform,
                        const BatchMix& mix);

// How batch `iteration` of such a stream was mixed, for its targets.
MixPlan plan_of(const BatchMix& mix, std::uint64_t seed, std::int64_t iteration, std::int64_t size);

}  // namespace nextgrad
