// SegFormer's all-MLP decoder (Xie et al. 2021, Figure 2; SegNeXt's Figure 3(a)): the encoder has
// seen enough context, so that one layer over all stages' pixels makes the classes.
#pragma once

#include <vector>

#include "models/decoder.h"
#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/norm.h"

namespace nextgrad {

class MLPDecoder : public Decoder {
 public:
  MLPDecoder(const DecoderConfig& config, const std::array<int, 4>& channels, int classes);
  Variable logits(const std::vector<Variable>& stages) const override;
  const char* classifier() const override { return "classifier"; }

 private:
  std::vector<Linear*> project(const std::array<int, 4>& channels, int width);

  std::vector<int> stages_;
  std::vector<Linear*> projections_;  // of each to the width
  Conv2d& fuse_;
  BatchNorm2d& norm_;
  ChannelDropout& dropout_;
  Conv2d& classifier_;
};

}  // namespace nextgrad
