// The encoder with a linear classifier, as it is pre-trained on ImageNet.
#pragma once

#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "models/mscan.h"
#include "nn/linear.h"

namespace nextgrad {

// The encoder's parameters come without a prefix, then `head.weight` and `head.bias`: the names of
// the published ImageNet files.
class MSCANClassifier : public MSCAN {
 public:
  MSCANClassifier(const MSCANConfig& config, int num_classes)
      : MSCAN(config), head_(child<Linear>("head", config.channels.back(), num_classes)) {}
  // x [N,H,W,3] -> logits [N,classes]: mean over the pixels of stage 4, then one linear layer.
  Variable forward(Variable x) const override {
    const Variable logits = head_(mean(features(x).back(), {1, 2}));
    return cast(logits, parameter_dtype(logits.dtype()));
  }

 private:
  Linear& head_;
};

}  // namespace nextgrad
