// A convolution and a norm, which replaces its bias: what decoders are made of. Names as
// MMSegmentation's ConvModule: conv, and gn or bn.
#pragma once

#include "autograd/arithmetic.h"
#include "nn/conv.h"
#include "nn/norm.h"

namespace nextgrad {

inline constexpr int kNormGroups = 32;  // of group norm, which must divide the channels

// 1x1 convolution, then GroupNorm(32).
class ConvNorm : public Module {
 public:
  ConvNorm(int in, int out)
      : conv_(child<Conv2d>("conv", pointwise(in, out, false))),
        norm_(child<GroupNorm>("gn", kNormGroups, out)) {}
  Variable forward(Variable x) const override { return norm_(conv_(std::move(x))); }

 private:
  Conv2d& conv_;
  GroupNorm& norm_;
};

// Convolution, batch norm, ReLU.
class ConvBNReLU : public Module {
 public:
  ConvBNReLU(int in, int out, const Window& window = {})
      : conv_(child<Conv2d>(
            "conv",
            Conv2dOptions{
                .in_channels = in, .out_channels = out, .window = window, .bias = false})),
        norm_(child<BatchNorm2d>("bn", out)) {}
  Variable forward(Variable x) const override { return relu(norm_(conv_(std::move(x)))); }

 private:
  Conv2d& conv_;
  BatchNorm2d& norm_;
};

}  // namespace nextgrad
