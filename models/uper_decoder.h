// UPerNet's decoder (Xiao et al. 2018): pyramid pooling (Zhao et al. 2017) of the last stage, and a
// feature pyramid (Lin et al. 2017) down to the first.
#pragma once

#include <vector>

#include "models/conv_norm.h"
#include "models/decoder.h"
#include "nn/dropout.h"

namespace nextgrad {

// Names as MMSegmentation's UPerHead.
class UPerDecoder : public Decoder {
 public:
  UPerDecoder(const DecoderConfig& config, const std::array<int, 4>& channels, int classes);
  Variable logits(const std::vector<Variable>& stages) const override;

 private:
  Variable pyramid_pooling(const Variable& x) const;

  std::vector<int> stages_;
  std::vector<ConvBNReLU*> psp_modules_;  // of each scale
  ConvBNReLU& bottleneck_;
  std::vector<ConvBNReLU*> lateral_convs_, fpn_convs_;  // of each stage but the last
  ConvBNReLU& fpn_bottleneck_;
  ChannelDropout& dropout_;
  Conv2d& conv_seg_;
};

}  // namespace nextgrad
