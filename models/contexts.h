// Global context: ways for every pixel of a feature map [N,H,W,C] to learn of all others. Table 5
// of SegNeXt compares them within its decoder.
#pragma once

#include "models/conv_norm.h"
#include "nn/decomposition.h"

namespace nextgrad {

// Geng et al. 2021: relu(x + norm(conv(ham(relu(conv(x)))))), a low-rank reconstruction.
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

// Criss-cross attention (Huang et al. 2019): every pixel attends to those of its row and of its
// column, itself among them once: y = gamma sum_i softmax(q k_i) v_i + x. Memory is of order
// H W (H + W). C must be a multiple of 8.
class CrissCrossAttention : public Module {
 public:
  explicit CrissCrossAttention(int channels);
  Variable forward(Variable x) const override;

 private:
  Conv2d &query_, &key_, &value_;
  Variable gamma_;  // [1]
};

// CCNet's head: the same attention twice, so that every pixel has heard of every other one by the
// pixels where their rows and columns cross.
class RecurrentCrissCross : public Module {
 public:
  explicit RecurrentCrissCross(int channels);
  Variable forward(Variable x) const override;

 private:
  ConvNorm& conva_;
  CrissCrossAttention& cca_;
  ConvNorm& convb_;
};

// Expectation-maximisation attention (Li et al. 2019): pixels are a mixture of `rank` bases, found
// by `steps` rounds of EM that start at `bases`; every pixel becomes the mean of the bases by their
// share in it. relu(x + norm(conv(relu(em(x))))). EMANet's convolution before em(), which it leaves
// untrained, is not there: the decoder has one just before.
class EMAttention : public Module {
 public:
  EMAttention(int channels, int rank, int steps);
  Variable forward(Variable x) const override;

  // Where EM starts, [1,C,rank], of length 1. In training they move to the mean of what the
  // batch's images (of all processes) found: the batches before, not a gradient, teach them.
  Tensor& bases;

 private:
  Variable em(const Variable& x) const;  // [B,N,C], B images of N pixels
  void move_bases(const Tensor& found) const;

  int steps_;
  ConvNorm& conv_;
  mutable Tensor started_at_;  // the bases before they moved last, for a second run
};

// Non-local block (Wang et al. 2018), embedded Gaussian at half the channels: every pixel attends
// to all, x + conv(attention(theta(x), phi(x), g(x))). Products are scaled by 1 / sqrt(C / 2), as
// MMSegmentation does, not the paper: without, the softmax begins as a choice of one.
class NonLocal : public Module {
 public:
  explicit NonLocal(int channels);
  Variable forward(Variable x) const override;

 private:
  Conv2d &theta_, &phi_, &g_, &conv_out_;
};

}  // namespace nextgrad
