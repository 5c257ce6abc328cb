#include "models/context_decoder.h"

#include "autograd/arithmetic.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

constexpr int kNormGroups = 32;

}  // namespace

ConvNorm::ConvNorm(int in, int out)
    : conv_(child<Conv2d>("conv", pointwise(in, out, false))),
      norm_(child<GroupNorm>("gn", kNormGroups, out)) {}

Hamburger::Hamburger(int channels, const DecompositionOptions& ham)
    : ham_in_(child<Conv2d>("ham_in.conv", pointwise(channels, channels))),
      ham_(child<MatrixDecomposition>("ham", ham)),
      ham_out_(child<ConvNorm>("ham_out", channels, channels)) {}

Variable Hamburger::forward(Variable x) const {
  // The ReLU gives the NMF what it can factor: nothing negative.
  return relu(x + ham_out_(ham_(relu(ham_in_(x)))));
}

ContextDecoder::ContextDecoder(const DecoderConfig& config, const std::array<int, 4>& channels,
                               int classes)
    : stages_(config.stages),
      squeeze_(child<ConvNorm>("squeeze", joined_channels(config.stages, channels), config.width)),
      context_(make_context(config)),
      align_(child<ConvNorm>("align", config.width, config.width)),
      conv_seg_(child<Conv2d>("conv_seg", pointwise(config.width, classes), Init::normal(0.01))),
      dropout_(child<ChannelDropout>("dropout", config.dropout)) {}

Module* ContextDecoder::make_context(const DecoderConfig& config) {
  switch (config.kind) {
    case DecoderConfig::Kind::ham:
      return hamburger_ = &child<Hamburger>("hamburger", config.width, config.ham);
    default: fail("this kind of decoder has no context");
  }
}

Variable ContextDecoder::logits(const std::vector<Variable>& stages) const {
  const Variable x = relu(squeeze_(joined(stages, stages_)));
  return conv_seg_(dropout_(relu(align_((*context_)(x)))));
}

}  // namespace nextgrad
