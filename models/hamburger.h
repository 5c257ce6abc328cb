// The light Hamburger decoder of SegNeXt (Geng et al. 2021; Guo et al. 2022, Figure 3(c)).
#pragma once

#include <vector>

#include "nn/conv.h"
#include "nn/decomposition.h"
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
  Hamburger(int channels, int rank);
  Variable forward(Variable x) const override;
  MatrixDecomposition& ham() const { return ham_; }

 private:
  Conv2d& ham_in_;
  MatrixDecomposition& ham_;
  ConvNorm& ham_out_;
};

class LightHamHead : public Module {
 public:
  // in: channels of stages 2, 3 and 4; width of the decoder; rank of the NMF.
  LightHamHead(const std::vector<int>& in, int width, int rank, int classes, double dropout);
  // Stages 2, 3 and 4 (stage 1 is not used) -> logits [N,h,w,classes] at stage 2's size.
  Variable forward(const std::vector<Variable>& stages) const;
  using Module::forward;
  Hamburger& hamburger() const { return hamburger_; }

 private:
  ConvNorm& squeeze_;
  Hamburger& hamburger_;
  ConvNorm& align_;
  Conv2d& conv_seg_;
  ChannelDropout& dropout_;
};

}  // namespace nextgrad
