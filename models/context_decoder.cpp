#include "models/context_decoder.h"

#include <algorithm>

#include "models/mscan.h"

namespace nextgrad {

using Kind = DecoderConfig::Kind;

ContextDecoder::ContextDecoder(const DecoderConfig& config, const std::array<int, 4>& channels,
                               int classes)
    : stages_(config.stages),
      squeeze_(child<ConvNorm>("squeeze", joined_channels(config.stages, channels), config.width)),
      context_(make_context(config)),
      align_(child<ConvNorm>("align", config.width, config.width)),
      conv_seg_(child<Conv2d>("conv_seg", pointwise(config.width, classes), Init::normal(0.01))),
      dropout_(child<ChannelDropout>("dropout", config.dropout)) {}

Module* ContextDecoder::make_context(const DecoderConfig& config) {
  const int width = config.width;
  switch (config.kind) {
    case Kind::ham: return hamburger_ = &child<Hamburger>("hamburger", width, config.ham);
    case Kind::cc: return &child<RecurrentCrissCross>("rcca", width);
    case Kind::ema:
      return &child<EMAttention>("ema", width, config.ham.rank,
                                 std::max(1, config.ham.train_steps / 2));
    case Kind::nonlocal: return &child<NonLocal>("nl_block", width);
    case Kind::msca: return &child<Attention>("msca", width, EncoderConfig());
    default: fail("this kind of decoder has no context");
  }
}

Variable ContextDecoder::logits(const std::vector<Variable>& stages) const {
  const Variable x = relu(squeeze_(joined(stages, stages_)));
  return conv_seg_(dropout_(relu(align_((*context_)(x)))));
}

}  // namespace nextgrad
