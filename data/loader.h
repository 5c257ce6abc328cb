// Loader: worker threads that prepare training batches ahead of the trainer.
//
// The stream is a pure function of (seed, iteration): sample k of iteration i is at position
// p = i * batch + k; its picture is number permutation(seed, epoch = p / n)[p mod n] of the data
// set, augmented with random numbers keyed by (seed, i, k). Neither the number of workers nor a
// restart at any iteration changes it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/dataset.h"
#include "data/transforms.h"
#include "tensor/tensor.h"

namespace nextgrad {

struct Batch {
  Tensor images;  // f32 [N,crop_h,crop_w,3], on the CPU
  Tensor labels;  // i32 [N,crop_h,crop_w]
  std::int64_t iteration = 0;
};

struct LoaderConfig {
  std::int64_t batch = 8;
  std::uint64_t seed = 0;
  std::int64_t start_iteration = 0, end_iteration = 0;  // delivers [start, end)
  int workers = 2;                                      // 0: samples are prepared in next() itself
  int depth = 3;                                        // batches prepared ahead at most
};

// Order of the samples of one epoch: a permutation of 0..n-1.
std::vector<std::int64_t> epoch_permutation(std::uint64_t seed, std::int64_t epoch, std::int64_t n);

class Loader {
 public:
  // The data set must outlive the loader. Throws Error for numbers that make no sense.
  Loader(const Dataset& dataset, const TrainTransform& transform, const LoaderConfig& config);
  ~Loader();  // stops the workers, whatever they do
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch, in order. Rethrows what a worker threw for it; throws Error after the last.
  Batch next();
  bool done() const;
  double wait_seconds() const;  // how long next() has waited for workers, in all

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nextgrad
