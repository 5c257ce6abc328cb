// DeepLabV3's decoder (Chen et al. 2017): atrous spatial pyramid pooling.
#pragma once

#include <vector>

#include "models/conv_norm.h"
#include "models/decoder.h"
#include "nn/dropout.h"

namespace nextgrad {

// The last stage, or several joined, seen at five scales at once: the mean of the whole image, a
// 1x1 convolution, and 3x3 ones whose taps stand 12, 24 and 36 pixels apart. Names as
// MMSegmentation's ASPPHead.
class ASPPDecoder : public Decoder {
 public:
  ASPPDecoder(const DecoderConfig& config, const std::array<int, 4>& channels, int classes);
  Variable logits(const std::vector<Variable>& stages) const override;

 private:
  std::vector<int> stages_;
  ConvBNReLU& image_pool_;
  std::vector<ConvBNReLU*> aspp_modules_;
  ConvBNReLU& bottleneck_;
  ChannelDropout& dropout_;
  Conv2d& conv_seg_;
};

}  // namespace nextgrad
