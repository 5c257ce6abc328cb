// The encoder with a linear classifier, as it is pre-trained on ImageNet.
#pragma once

#include "models/mscan.h"
#include "nn/linear.h"

namespace nextgrad {

// The encoder's parameters come without a prefix, then `head.weight` and `head.bias`: the names of
// the published ImageNet files.
class MSCANClassifier : public MSCAN {
 public:
  MSCANClassifier(const MSCANConfig& config, int num_classes);
  // x [N,H,W,3] -> logits [N,classes]: mean over the pixels of stage 4, then one linear layer.
  Variable forward(Variable x) const override;

 private:
  Linear& head_;
};

}  // namespace nextgrad
