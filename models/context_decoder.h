// SegNeXt's decoder (Guo et al. 2022, Figure 3(c)): some stages joined at the size of the first, then
// global context, in the paper by the Hamburger (Geng et al. 2021).
#pragma once

#include <vector>

#include "models/decoder.h"
#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/norm.h"

namespace nextgrad {

// 1x1 convolution, then GroupNorm(32), which then replaces the bias.
class ConvNorm : public Module {
 public:
  ConvNorm(int in, int out);
  Variable forward(Variable x) const override { return norm_(conv_(x)); }

 private:
  Conv2d& conv_;
  GroupNorm& norm_;
};

// relu(x + norm(conv(ham(relu(conv(x)))))): global context by a low-rank reconstruction.
class Hamburger : public Module {
 public:
  Hamburger(int channels, const DecompositionOptions& ham);
  Variable forward(Variable x) const override;
  MatrixDecomposition& ham() const { return ham_; }

 private:
  Conv2d& ham_in_;
  MatrixDecomposition& ham_;
  ConvNorm& ham_out_;
};

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
