// Loader: worker threads that prepare training batches ahead of the trainer.
//
// The stream is a pure function of (seed, iteration): sample k of iteration i is at position
// p = i * batch + k; its picture is number permutation(seed, epoch = p / n)[p mod n] of the data
// set, augmented with random numbers keyed by (seed, i, k), and a batch is finished (mixed, say)
// with numbers keyed by (seed, i). Neither the number of workers nor a restart at any iteration
// changes it. With skip_damaged, a picture that cannot be read gives its place to the one after it
// in the data set (after the last, the first).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/augment/transforms.h"
#include "data/datasets/dataset.h"
#include "tensor/tensor.h"

namespace nextgrad {

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
  std::uint64_t seed = 0;
  std::int64_t start_iteration = 0, end_iteration = 0;  // delivers [start, end)
  int workers = 2;                                      // 0: samples are prepared in next() itself
  int depth = 3;                                        // batches prepared ahead at most
  bool skip_damaged = false;  // leave out what throws InputError instead of rethrowing it
};

// What a stream consists of: a data set and what is done to it. Any thread may call any method at
// any time.
class SampleMaker {
 public:
  virtual ~SampleMaker() = default;
  virtual std::int64_t size() const = 0;  // samples of the data set
  virtual std::string name(std::int64_t index) const = 0;
  virtual Shape image_shape() const = 0;  // of one sample, [H,W,3]
  virtual Shape label_shape() const = 0;  // of one sample: [H,W], or [] for one class
  virtual void validate() const = 0;      // throws Error for settings that make no sense
  // Writes picture number `index`, augmented by `key`'s numbers, and its labels.
  virtual void make(std::int64_t index, const RandomKey& key, std::span<float> image,
                    std::span<std::int32_t> label) const = 0;
  // The last touch, once all samples [N, image_shape()] of a batch are made. `key`: of (seed,
  // iteration) and no sample; its `use` is the maker's to choose.
  virtual void finish(const RandomKey&, std::span<float>) const {}
};

// Crops for segmentation. The data set must outlive it.
class CropMaker : public SampleMaker {
 public:
  CropMaker(const Dataset& dataset, const TrainTransform& transform)
      : dataset_(dataset), transform_(transform) {}
  std::int64_t size() const override { return dataset_.size(); }
  std::string name(std::int64_t index) const override { return dataset_.name(index); }
  Shape image_shape() const override { return {transform_.crop_h, transform_.crop_w, 3}; }
  Shape label_shape() const override { return {transform_.crop_h, transform_.crop_w}; }
  void validate() const override { transform_.validate(); }
  void make(std::int64_t index, const RandomKey& key, std::span<float> image,
            std::span<std::int32_t> label) const override;

 private:
  const Dataset& dataset_;
  TrainTransform transform_;
};

class Loader {
 public:
  // Throws Error for numbers that make no sense.
  Loader(std::shared_ptr<const SampleMaker> samples, const LoaderConfig& config);
  // The stream of a CropMaker: the data set must outlive the loader.
  Loader(const Dataset& dataset, const TrainTransform& transform, const LoaderConfig& config);
  ~Loader();  // stops the workers, whatever they do
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch, in order. Rethrows what a worker threw for it; throws InputError if every
  // sample is damaged (skip_damaged), Error after the last.
  Batch next();
  bool done() const;
  double wait_seconds() const;  // how long next() has waited for workers, in all

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nextgrad
