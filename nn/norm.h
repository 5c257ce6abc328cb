// Normalisation layers over the last axis, channels.
#pragma once

#include "autograd/norm.h"
#include "nn/module.h"

namespace nextgrad {

// Batch norm (Ioffe and Szegedy 2015). Training: statistics of the batch over all axes but the
// last, which also move the running ones (running += momentum (batch - running), variance
// unbiased), once per iteration even under recomputation. Evaluation: the running ones. Training
// throws when there is but one value per channel.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(std::int64_t channels, double eps = 1e-5, double momentum = 0.1);
  Variable forward(Variable x) const override;

  Variable weight, bias;                                     // [C], 1 and 0
  Tensor &running_mean, &running_var, &num_batches_tracked;  // [C], [C], i64 []

 private:
  double eps_, momentum_;
};

// Layer norm over the last axis (Ba et al. 2016), weight and bias [C].
class LayerNorm : public Module {
 public:
  explicit LayerNorm(std::int64_t channels, double eps = 1e-5);
  Variable forward(Variable x) const override { return layer_norm(x, weight, bias, eps_); }

  Variable weight, bias;

 private:
  double eps_;
};

// Group norm (Wu and He 2018): statistics per image and group; throws unless groups divides
// channels.
class GroupNorm : public Module {
 public:
  GroupNorm(int groups, std::int64_t channels, double eps = 1e-5);
  Variable forward(Variable x) const override { return group_norm(x, weight, bias, groups_, eps_); }

  Variable weight, bias;

 private:
  int groups_;
  double eps_;
};

}  // namespace nextgrad
