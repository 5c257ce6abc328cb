// Loader: worker threads that prepare training batches ahead of the trainer.
//
// The stream is a pure function of (seed, iteration): sample k of iteration i is at position
// p = i * batch + k; its picture is number permutation(seed, epoch = p / n)[p mod n] of the data
// set, augmented with random numbers keyed by (seed, i, k), and a batch is finished (mixed, say)
// with numbers keyed by (seed, i). Neither the number of workers nor a restart at any iteration
// changes it, nor how many processes share it: each makes its own samples of every batch. With
// skip_damaged, a picture that cannot be read gives its place to the one after it
// in the data set (after the last, the first).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/augment/batch_mix.h"
#include "data/augment/class_transforms.h"
#include "data/augment/transforms.h"
#include "data/datasets/dataset.h"
#include "tensor/tensor.h"

namespace nextgrad {

// What is done to the samples of a data set before a network is trained on them.
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

struct DamagedSample {
  std::string name, message;  // of the data set; what was thrown
};

struct Batch {
  Tensor images;  // f32 [N,H,W,3], on the CPU
  Tensor labels;  // i32 [N,H,W] (segmentation) or [N] (classification)
  std::int64_t iteration = 0;
  std::vector<DamagedSample> damaged;  // left out while it was made, in order (skip_damaged)
};

struct LoaderConfig {
  std::int64_t batch = 8;
  std::vector<std::int64_t> samples;  // those of each batch to make, ascending; empty: all
  std::uint64_t seed = 0;
  std::int64_t start_iteration = 0, end_iteration = 0;  // delivers [start, end)
  int workers = 2;                                      // 0: samples are prepared in next() itself
  int depth = 3;                                        // batches prepared ahead at most
  bool skip_damaged = false;  // leave out what throws InputError instead of rethrowing it
};

class Loader {
 public:
  // Throws Error for numbers that make no sense.
  Loader(SampleMaker samples, const LoaderConfig& config);
  ~Loader();  // stops the workers, whatever they do
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch, in order. Rethrows what a worker threw for it; throws InputError if every
  // sample is damaged (skip_damaged), Error after the last.
  Batch next();
  bool done() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nextgrad
