#include "models/mlp_decoder.h"

#include <algorithm>

#include "autograd/arithmetic.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

MLPDecoder::MLPDecoder(const DecoderConfig& config, const std::array<int, 4>& channels, int classes)
    : stages_(config.stages),
      projections_(project(channels, config.width)),
      fuse_(child<Conv2d>("linear_fuse",
                          pointwise(std::ssize(stages_) * config.width, config.width, false))),
      norm_(child<BatchNorm2d>("batch_norm", config.width)),
      dropout_(child<ChannelDropout>("dropout", config.dropout)),
      classifier_(
          child<Conv2d>("classifier", pointwise(config.width, classes), Init::normal(0.01))) {}

std::vector<Linear*> MLPDecoder::project(const std::array<int, 4>& channels, int width) {
  std::vector<Linear*> projections;
  for (std::size_t i = 0; i < stages_.size(); ++i)
    projections.push_back(&child<Linear>(fmt::format("linear_projections.{}.proj", i),
                                         channels.at(static_cast<std::size_t>(stages_[i] - 1)),
                                         width));
  return projections;
}

Variable MLPDecoder::logits(const std::vector<Variable>& stages) const {
  std::vector<Variable> maps;
  for (std::size_t i = 0; i < stages_.size(); ++i)
    maps.push_back((*projections_[i])(stages.at(static_cast<std::size_t>(stages_[i] - 1))));
  std::ranges::reverse(maps);  // the published order: stage 4 first
  const std::int64_t h = maps.back().dim(1), w = maps.back().dim(2);
  return classifier_(dropout_(relu(norm_(fuse_(join_resized(maps, h, w))))));
}

}  // namespace nextgrad
