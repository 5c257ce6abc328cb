#include "models/uper_decoder.h"

#include <iterator>

#include "autograd/shape_ops.h"
#include "nn/pool.h"

namespace nextgrad {

namespace {

constexpr int kScales[] = {1, 2, 3, 6};

Variable resized_like(const Variable& x, const Variable& other) {
  return resize(x, other.dim(1), other.dim(2));
}

}  // namespace

UPerDecoder::UPerDecoder(const DecoderConfig& config, const std::array<int, 4>& channels,
                         int classes)
    : stages_(config.stages),
      bottleneck_(child<ConvBNReLU>("bottleneck",
                                    joined_channels({config.stages.back()}, channels) +
                                        static_cast<int>(std::size(kScales)) * config.width,
                                    config.width, same_window(3))),
      fpn_bottleneck_(child<ConvBNReLU>("fpn_bottleneck",
                                        static_cast<int>(config.stages.size()) * config.width,
                                        config.width, same_window(3))),
      dropout_(child<ChannelDropout>("dropout", config.dropout)),
      conv_seg_(child<Conv2d>("conv_seg", pointwise(config.width, classes), Init::normal(0.01))) {
  for (std::size_t i = 0; i < std::size(kScales); ++i)
    psp_modules_.push_back(&child<ConvBNReLU>(fmt::format("psp_modules.{}.1", i),
                                              joined_channels({config.stages.back()}, channels),
                                              config.width));
  for (std::size_t i = 0; i + 1 < config.stages.size(); ++i) {
    lateral_convs_.push_back(&child<ConvBNReLU>(fmt::format("lateral_convs.{}", i),
                                                joined_channels({config.stages[i]}, channels),
                                                config.width));
    fpn_convs_.push_back(&child<ConvBNReLU>(fmt::format("fpn_convs.{}", i), config.width,
                                            config.width, same_window(3)));
  }
}

Variable UPerDecoder::pyramid_pooling(const Variable& x) const {
  std::vector<Variable> scales{x};
  for (std::size_t i = 0; i < psp_modules_.size(); ++i)
    scales.push_back(
        resized_like((*psp_modules_[i])(adaptive_average_pool(x, kScales[i], kScales[i])), x));
  return bottleneck_(concat(scales, 3));
}

Variable UPerDecoder::logits(const std::vector<Variable>& stages) const {
  // Top down: each stage adds what the one above it knows.
  std::vector<Variable> levels(stages_.size());
  levels.back() = pyramid_pooling(joined(stages, {stages_.back()}));
  for (std::size_t i = lateral_convs_.size(); i-- > 0;) {
    const Variable lateral = (*lateral_convs_[i])(joined(stages, {stages_[i]}));
    levels[i] = lateral + resized_like(levels[i + 1], lateral);
  }
  for (std::size_t i = 0; i < fpn_convs_.size(); ++i) levels[i] = (*fpn_convs_[i])(levels[i]);
  for (Variable& level : levels) level = resized_like(level, levels.front());
  return conv_seg_(dropout_(fpn_bottleneck_(concat(levels, 3))));
}

}  // namespace nextgrad
