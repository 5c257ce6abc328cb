// Random masks in training, nothing in evaluation. Masks are 0 with probability p, else 1/(1-p),
// with keys from the RandomScope. Constructors throw unless 0 <= p < 1.
#pragma once

#include "nn/module.h"
#include "tensor/random.h"

namespace nextgrad {

// What the layers below share.
class RandomMask : public Module {
 public:
  double p() const { return p_; }

 protected:
  RandomMask(const char* layer, double p);
  // Undefined when nothing is dropped.
  Tensor mask_of(const Variable& x, const Shape& shape) const;
  // x times such a mask of a shape that broadcasts to x's.
  Variable masked(const Variable& x, const Shape& shape) const;

 private:
  double p_;
};

// Each element by itself (Srivastava et al. 2014).
class Dropout : public RandomMask {
 public:
  explicit Dropout(double p) : RandomMask("Dropout", p) {}
  Variable forward(Variable x) const override { return masked(x, x.shape()); }
};

// Whole channels of an image, x [N,H,W,C] (PyTorch's Dropout2d; Tompson et al. 2015).
class ChannelDropout : public RandomMask {
 public:
  explicit ChannelDropout(double p) : RandomMask("ChannelDropout", p) {}
  Variable forward(Variable x) const override { return masked(x, {x.dim(0), 1, 1, x.dim(3)}); }
};

// Drop path's masks of a forward that is about to come, drawn at once, as a GPU would rather have
// it: `p` of all that will be drawn while this lives, in their order, of n images each. Those that
// are drawn otherwise than announced are drawn by themselves, and no number depends on this.
class DrawnMasks {
 public:
  DrawnMasks(Backend& backend, std::int64_t n, DType dtype, const std::vector<double>& p);
  ~DrawnMasks();
  DrawnMasks(const DrawnMasks&) = delete;
  DrawnMasks& operator=(const DrawnMasks&) = delete;
  // The mask of this key, or undefined.
  static Tensor find(const RandomKey& key, const Shape& shape, DType dtype, double p);

 private:
  RandomKey first_;
  std::vector<double> p_;
  Tensor masks_;
  const DrawnMasks* before_;
};

// Whole residual branches per sample (stochastic depth, Huang et al. 2016).
class DropPath : public RandomMask {
 public:
  explicit DropPath(double p) : RandomMask("DropPath", p) {}
  Variable forward(Variable x) const override;  // x * mask
};

}  // namespace nextgrad
