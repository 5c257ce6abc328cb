// The encoder with a linear classifier, as it is pre-trained on ImageNet.
#pragma once

#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "models/encoder.h"
#include "nn/linear.h"

namespace nextgrad {

// The encoder's parameters come without a prefix, then `head.weight` and `head.bias`: MSCAN's names
// in the published ImageNet files.
class Classifier : public Module {
 public:
  Classifier(const EncoderConfig& config, int num_classes)
      : encoder_(own("", make_encoder(config))),
        head_(child<Linear>("head", config.channels.back(), num_classes)) {}
  // x [N,H,W,3] -> logits [N,classes]: mean over the pixels of stage 4, then one linear layer.
  Variable forward(Variable x) const override {
    const Variable logits = head_(mean(encoder_(std::move(x)), {1, 2}));
    return cast(logits, parameter_dtype(logits.dtype()));
  }
  Encoder& encoder() const { return encoder_; }

 private:
  Encoder& encoder_;
  Linear& head_;
};

}  // namespace nextgrad
