// MiT, the encoder of SegFormer (Xie et al. 2021, "SegFormer: simple and efficient design for
// semantic segmentation with transformers", Figure 2). Feature maps are [N,H,W,C]: attention sees
// their pixels as a row of tokens, which moves no number. Names of parameters are those of the
// `transformers` library (5).
#pragma once

#include <vector>

#include "models/encoder.h"
#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/norm.h"

namespace nextgrad {

// Keys and values for efficient self-attention: each patch of `reduction` x `reduction` pixels
// becomes one.
class SpatialReduction : public Module {
 public:
  SpatialReduction(int channels, int reduction);
  Variable forward(Variable x) const override { return norm_(reduce_(x)); }

 private:
  Conv2d& reduce_;
  LayerNorm& norm_;
};

// Every pixel looks at the whole picture, at 1 / reduction^2 of its pixels.
class SelfAttention : public Module {
 public:
  SelfAttention(int channels, int heads, int reduction);
  Variable forward(Variable x) const override;

 private:
  int heads_;
  Linear &query_, &key_, &value_, &output_;
  SpatialReduction* reduction_ = nullptr;  // null: all pixels
};

// Mix-FFN: the 3x3 depth-wise convolution between the layers tells where a pixel is, so that there
// is no position encoding.
class MixFeedForward : public Module {
 public:
  MixFeedForward(int channels, int hidden);
  Variable forward(Variable x) const override;

 private:
  Linear& fc1_;
  DepthwiseConv2d& position_;
  Linear& fc2_;
};

// y = x + attention(norm(x)), then y + ffn(norm(y)), each with drop path.
class TransformerBlock : public Module {
 public:
  TransformerBlock(int channels, int heads, int reduction, int ratio, double drop_path);
  Variable forward(Variable x) const override;

 private:
  LayerNorm& norm_before_;
  SelfAttention& attention_;
  LayerNorm& norm_after_;
  MixFeedForward& feed_forward_;
  DropPath& drop_path_;
};

class MixTransformer : public Encoder {
 public:
  explicit MixTransformer(const EncoderConfig& config);
};

}  // namespace nextgrad
