// Normalisation layers over the last axis, channels.
#pragma once

#include "autograd/norm.h"
#include "nn/module.h"

namespace nextgrad {

// What all norms have: weight and bias [C], at first 1 and 0.
class ChannelNorm : public Module {
 public:
  ChannelNorm(std::int64_t channels, double eps)
      : weight(parameter("weight", {channels}, Init::constant(1))),
        bias(parameter("bias", {channels}, Init::constant(0))),
        eps_(eps) {}

  Variable weight, bias;

 protected:
  double eps_;
};

// Batch norm (Ioffe and Szegedy 2015). Training: statistics of the batch over all axes but the
// last, which also move the running ones (running += momentum (batch - running), variance
// unbiased), once per iteration even under recomputation. Evaluation: the running ones. Training
// throws when there is but one value per channel.
class BatchNorm2d : public ChannelNorm {
 public:
  explicit BatchNorm2d(std::int64_t channels, double eps = 1e-5, double momentum = 0.1);
  Variable forward(Variable x) const override;

  Tensor &running_mean, &running_var, &num_batches_tracked;  // [C], [C], i64 []

 private:
  double momentum_;
};

// Layer norm over the last axis (Ba et al. 2016).
class LayerNorm : public ChannelNorm {
 public:
  explicit LayerNorm(std::int64_t channels, double eps = 1e-5) : ChannelNorm(channels, eps) {}
  Variable forward(Variable x) const override { return layer_norm(x, weight, bias, eps_); }
};

// Group norm (Wu and He 2018): statistics per image and group; throws unless groups divides
// channels.
class GroupNorm : public ChannelNorm {
 public:
  GroupNorm(int groups, std::int64_t channels, double eps = 1e-5);
  Variable forward(Variable x) const override { return group_norm(x, weight, bias, groups_, eps_); }

 private:
  int groups_;
};

}  // namespace nextgrad
