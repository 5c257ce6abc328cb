// SegNeXt's decoder (Guo et al. 2022, Figure 3(c)): some stages joined at the size of the first,
// then global context, in the paper by the Hamburger (Geng et al. 2021).
#pragma once

#include <vector>

#include "models/contexts.h"
#include "models/decoder.h"
#include "nn/dropout.h"

namespace nextgrad {

class ContextDecoder : public Decoder {
 public:
  ContextDecoder(const DecoderConfig& config, const std::array<int, 4>& channels, int classes);
  Variable logits(const std::vector<Variable>& stages) const override;
  Hamburger* hamburger() const { return hamburger_; }  // null: another context

 private:
  Module* make_context(const DecoderConfig& config);

  std::vector<int> stages_;
  ConvNorm& squeeze_;
  Hamburger* hamburger_ = nullptr;  // set by make_context
  Module* context_;
  ConvNorm& align_;
  Conv2d& conv_seg_;
  ChannelDropout& dropout_;
};

}  // namespace nextgrad
