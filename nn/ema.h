// Exponential moving average of a model's weights (Polyak and Juditsky 1992).
#pragma once

#include "nn/module.h"
#include "nn/state_dict.h"

namespace nextgrad {

class WeightAverage {
 public:
  // Starts at the module's present weights; 0 <= decay < 1. The module must outlive it.
  WeightAverage(Module& module, double decay);
  // average += (1 - d) (weights - average), d = min(decay, (1 + t) / (10 + t)) at update t, so that
  // the first weights are soon forgotten. Buffers are copied.
  void update();
  // Exchanges the module's weights and buffers with the average's; a second call undoes it.
  // update() throws in between.
  void swap();

  // For an exact resume: "updates" and the averages under the parameters' names, in this library's
  // layouts. load_state throws InputError on a mismatch.
  StateDict state() const;
  void load_state(const StateDict& state);

 private:
  Module& module_;
  double decay_;
  std::int64_t updates_ = 0;
  bool swapped_ = false;
  StateDict average_;  // of the parameters, then of the buffers
};

// While it lives, the module holds the averaged weights.
class AveragedWeights {
 public:
  explicit AveragedWeights(WeightAverage& average) : average_(average) { average_.swap(); }
  ~AveragedWeights() { average_.swap(); }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  WeightAverage& average_;
};

}  // namespace nextgrad
