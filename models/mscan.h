// MSCAN, the encoder of SegNeXt (Guo et al. 2022, Figure 2 and Table 2). Feature maps are
// [N,H,W,C].
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/norm.h"

namespace nextgrad {

struct MSCANConfig {
  std::array<int, 4> channels = {32, 64, 160, 256};
  std::array<int, 4> blocks = {3, 3, 5, 2};
  std::array<int, 4> ratios = {8, 8, 4, 4};  // width of the feed-forward part over the channels
  double drop_path = 0.1;  // probability of the last block; linear from 0 at the first
  bool recompute = false;  // keep only each block's input, compute its inside again in backward
};

// Multi-scale convolutional attention, Figure 2(b), equations (1) and (2).
class MSCA : public Module {
 public:
  explicit MSCA(int channels);
  Variable forward(Variable u) const override;

 private:
  struct Strip {  // a k x k kernel as its cheap cousin, 1 x k then k x 1
    DepthwiseConv2d& row;
    DepthwiseConv2d& column;
  };
  Strip strip(int index, int kernel, int channels);

  DepthwiseConv2d& conv0_;
  std::vector<Strip> strips_;
  Conv2d& mix_;
};

// The first branch of a block: 1x1, GELU, MSCA, 1x1, and the input added.
class Attention : public Module {
 public:
  explicit Attention(int channels);
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
  Block(int channels, int ratio, double drop_path);
  Variable forward(Variable x) const override;

 private:
  Variable scale_1_, scale_2_;  // [C]
  BatchNorm2d& norm1_;
  Attention& attention_;
  BatchNorm2d& norm2_;
  FeedForward& feed_forward_;
  DropPath& drop_path_;
};

class MSCAN : public Module {
 public:
  explicit MSCAN(const MSCANConfig& config);
  // x [N,H,W,3] -> the four stages' features at 1/4, 1/8, 1/16 and 1/32, sizes rounded up.
  std::vector<Variable> features(const Variable& x) const;
  Variable forward(Variable x) const override { return features(x).back(); }
  const MSCANConfig& config() const { return config_; }
  // What this and what follows compute in, instead of the image's dtype: the image is cast to it.
  // bf16, on a GPU: half the memory, and products on tensor cores; weights, statistics, the NMF and
  // losses stay f32 (mixed precision: Micikevicius et al., 2018).
  void set_activations(DType dtype) { activations_ = dtype; }

 private:
  struct Stage {
    Module* embed;
    std::vector<Block*> blocks;
    LayerNorm* norm;
  };
  MSCANConfig config_;
  std::optional<DType> activations_;
  std::vector<Stage> stages_;
};

}  // namespace nextgrad
