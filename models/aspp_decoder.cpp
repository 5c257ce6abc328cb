#include "models/aspp_decoder.h"

#include <iterator>

#include "autograd/shape_ops.h"
#include "nn/pool.h"

namespace nextgrad {

namespace {

constexpr int kDilations[] = {1, 12, 24, 36};  // the first is the 1x1 convolution's

Window dilated(int dilation) {
  if (dilation == 1) return {};
  return {.kh = 3,
          .kw = 3,
          .pad_h = dilation,
          .pad_w = dilation,
          .dilation_h = dilation,
          .dilation_w = dilation};
}

}  // namespace

ASPPDecoder::ASPPDecoder(const DecoderConfig& config, const std::array<int, 4>& channels,
                         int classes)
    : stages_(config.stages),
      image_pool_(child<ConvBNReLU>("image_pool.1", joined_channels(config.stages, channels),
                                    config.width)),
      bottleneck_(child<ConvBNReLU>("bottleneck",
                                    static_cast<int>(std::size(kDilations) + 1) * config.width,
                                    config.width, same_window(3))),
      dropout_(child<ChannelDropout>("dropout", config.dropout)),
      conv_seg_(child<Conv2d>("conv_seg", pointwise(config.width, classes), Init::normal(0.01))) {
  for (const int dilation : kDilations)
    aspp_modules_.push_back(&child<ConvBNReLU>(fmt::format("aspp_modules.{}", aspp_modules_.size()),
                                               joined_channels(config.stages, channels),
                                               config.width, dilated(dilation)));
}

Variable ASPPDecoder::logits(const std::vector<Variable>& stages) const {
  const Variable x = joined(stages, stages_);
  std::vector<Variable> scales{
      resize(image_pool_(adaptive_average_pool(x, 1, 1)), x.dim(1), x.dim(2))};
  for (const ConvBNReLU* conv : aspp_modules_) scales.push_back((*conv)(x));
  return conv_seg_(dropout_(bottleneck_(concat(scales, 3))));
}

}  // namespace nextgrad
