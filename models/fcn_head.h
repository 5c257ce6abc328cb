// The auxiliary head that many recipes train beside the decoder: a fully convolutional network of
// one layer (Long et al. 2015) on a middle stage, so that a gradient reaches it by a short way.
// Predictions do without.
#pragma once

#include "autograd/arithmetic.h"
#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/norm.h"

namespace nextgrad {

// Names as MMSegmentation's: convs.0.conv, convs.0.bn, conv_seg.
class FCNHead : public Module {
 public:
  FCNHead(int in, int classes)
      : conv_(child<Conv2d>(
            "convs.0.conv",
            Conv2dOptions{
                .in_channels = in, .out_channels = kWidth, .window = same_window(3), .bias = false})),
        norm_(child<BatchNorm2d>("convs.0.bn", kWidth)),
        dropout_(child<ChannelDropout>("dropout", 0.1)),
        conv_seg_(child<Conv2d>("conv_seg", pointwise(kWidth, classes), Init::normal(0.01))) {}
  // Features [N,h,w,in] -> logits [N,h,w,classes].
  Variable forward(Variable x) const override {
    return conv_seg_(dropout_(relu(norm_(conv_(x)))));
  }

 private:
  static constexpr int kWidth = 256;
  Conv2d& conv_;
  BatchNorm2d& norm_;
  ChannelDropout& dropout_;
  Conv2d& conv_seg_;
};

}  // namespace nextgrad
