// MSCAN, the encoder of SegNeXt (Guo et al. 2022, Figure 2 and Table 2). Feature maps are
// [N,H,W,C].
#pragma once

#include <vector>

#include "models/encoder.h"
#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/norm.h"

namespace nextgrad {

// Multi-scale convolutional attention, Figure 2(b), equations (1) and (2); or with one large kernel
// in place of the branches, VAN's (Guo et al. 2022, "Visual attention network").
class MSCA : public Module {
 public:
  MSCA(int channels, const EncoderConfig& config);
  Variable forward(Variable u) const override;

 private:
  struct Strip {  // a k x k kernel as its cheap cousin, 1 x k then k x 1
    DepthwiseConv2d& row;
    DepthwiseConv2d& column;
  };
  Strip strip(int kernel, int channels);

  EncoderConfig::Gate gate_;
  DepthwiseConv2d& local_;
  std::vector<Strip> strips_;
  DepthwiseConv2d* large_ = nullptr;  // instead of the strips
  Conv2d* mix_ = nullptr;
};

// The first branch of a block: 1x1, GELU, MSCA, 1x1, and the input added.
class Attention : public Module {
 public:
  Attention(int channels, const EncoderConfig& config);
  Variable forward(Variable x) const override;

 private:
  Conv2d& proj_1_;
  MSCA& msca_;
  Conv2d& proj_2_;
};

// The second: 1x1 to `hidden` channels, 3x3 depth-wise (the position encoding), GELU, 1x1 back.
class FeedForward : public Module {
 public:
  FeedForward(int channels, int hidden);
  Variable forward(Variable x) const override;

 private:
  Conv2d& fc1_;
  DepthwiseConv2d& position_;
  Conv2d& fc2_;
};

// y = x + s1 attention(norm1(x)), then y + s2 ffn(norm2(y)), each with drop path: Figure 2(a).
class Block : public Module {
 public:
  Block(int channels, int ratio, double drop_path, const EncoderConfig& config);
  Variable forward(Variable x) const override;

 private:
  Variable scale_1_, scale_2_;  // [C]
  BatchNorm2d& norm1_;
  Attention& attention_;
  BatchNorm2d& norm2_;
  FeedForward& feed_forward_;
  DropPath& drop_path_;
};

class MSCAN : public Encoder {
 public:
  explicit MSCAN(const EncoderConfig& config);
};

}  // namespace nextgrad
