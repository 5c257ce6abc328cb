// The auxiliary head that many recipes train beside the decoder: a fully convolutional network of
// one layer (Long et al. 2015) on a middle stage, so that a gradient reaches it by a short way.
// Predictions do without.
#pragma once

#include "models/conv_norm.h"
#include "nn/dropout.h"

namespace nextgrad {

// Names as MMSegmentation's: convs.0.conv, convs.0.bn, conv_seg.
class FCNHead : public Module {
 public:
  FCNHead(int in, int classes)
      : conv_(child<ConvBNReLU>("convs.0", in, kWidth, same_window(3))),
        dropout_(child<ChannelDropout>("dropout", 0.1)),
        conv_seg_(child<Conv2d>("conv_seg", pointwise(kWidth, classes), Init::normal(0.01))) {}
  // Features [N,h,w,in] -> logits [N,h,w,classes].
  Variable forward(Variable x) const override { return conv_seg_(dropout_(conv_(x))); }

 private:
  static constexpr int kWidth = 256;
  ConvBNReLU& conv_;
  ChannelDropout& dropout_;
  Conv2d& conv_seg_;
};

}  // namespace nextgrad
