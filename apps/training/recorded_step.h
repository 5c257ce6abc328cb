// A training step that is submitted as a whole: on a GPU recorded as a CUDA graph after the first
// steps, elsewhere op by op. The same numbers either way.
#pragma once

#include <memory>

#include "apps/training/train_task.h"

namespace nextgrad {

class RecordedStep {
 public:
  // Both must outlive it. `clip`: largest norm of the gradients, 0 = no limit.
  RecordedStep(TrainTask& task, Optimizer& optimizer, double clip, std::uint64_t seed)
      : task_(task), optimizer_(optimizer), clip_(clip), seed_(seed) {}

  struct Result {
    double loss, grad_norm;
  };
  // Forward, backward and the optimiser's step at rate lr for a batch that is on the device. Waits
  // for its end. If the gradients are not finite, the weights stay as they were.
  Result operator()(const Batch& batch, double lr);
  // The optimiser's step with the gradients as they are. Returns their norm.
  Tensor update(double lr);
  // Whether update() was called since begin(): the weights are no more what they were.
  bool updated() const { return updated_; }
  void begin() { updated_ = false; }

 private:
  void submit(const Batch& batch, double lr);
  bool may_replay(const Batch& batch, double lr);

  TrainTask& task_;
  Optimizer& optimizer_;
  double clip_;
  std::uint64_t seed_;
  Tensor loss_, norm_;
  int plain_steps_ = 0;
  bool updated_ = false;
  bool refused_ = false;  // the device could not record it
  std::unique_ptr<Capture> capture_;
  Batch recorded_;  // the tensors that the capture reads
  double recorded_lr_ = 0;
};

}  // namespace nextgrad
