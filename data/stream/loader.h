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
#include <string>
#include <vector>

#include "data/stream/samples.h"
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
