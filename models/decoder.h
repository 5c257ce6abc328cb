// A decoder: the encoder's feature maps become logits.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "nn/decomposition.h"

namespace nextgrad {

struct DecoderConfig {
  enum class Kind { ham, cc, ema, nonlocal, msca, mlp, aspp, uper };
  Kind kind = Kind::ham;
  std::vector<int> stages = {2, 3, 4};  // that it reads, ascending
  int width = 256;                      // its channels
  double dropout = 0.1;                 // of channels, before the classifier
  DecompositionOptions ham;             // of kind ham; its rank is also how many bases ema has

  bool operator==(const DecoderConfig&) const = default;
};

class Decoder : public Module {
 public:
  // The encoder's four stages -> logits [N,h,w,classes], at the size of the first stage it reads.
  virtual Variable logits(const std::vector<Variable>& stages) const = 0;
  // What the layer is called that gives them: another data set needs another one.
  virtual const char* classifier() const { return "conv_seg"; }
};

// What several decoders do first: the stages of these numbers, resized to the first one's size,
// beside each other; and how many channels that has.
Variable joined(const std::vector<Variable>& stages, const std::vector<int>& numbers);
int joined_channels(const std::vector<int>& numbers, const std::array<int, 4>& channels);

// For an encoder of these channels. Throws InputError for what no decoder can be: stages that it
// cannot do without, a rank above the width.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const std::array<int, 4>& channels, int classes);

}  // namespace nextgrad
