// Random masks in training, nothing in evaluation. Masks are 0 with probability p, else 1/(1-p),
// with keys from the RandomScope. Constructors throw unless 0 <= p < 1.
#pragma once

#include "nn/module.h"

namespace nextgrad {

// Each element by itself (Srivastava et al. 2014).
class Dropout : public Module {
 public:
  explicit Dropout(double p);
  Variable forward(const Variable& x) const override;

 private:
  double p_;
};

// Whole channels of an image, x [N,H,W,C] (PyTorch's Dropout2d; Tompson et al. 2015).
class ChannelDropout : public Module {
 public:
  explicit ChannelDropout(double p);
  Variable forward(const Variable& x) const override;

 private:
  double p_;
};

// Whole residual branches per sample (stochastic depth, Huang et al. 2016).
class DropPath : public Module {
 public:
  explicit DropPath(double p);
  // [N] mask for residual(); undefined when nothing is dropped.
  Tensor mask(const Variable& x) const;
  Variable forward(const Variable& x) const override;  // x * mask
  double p() const { return p_; }

 private:
  double p_;
};

}  // namespace nextgrad
