// Pooling and resizing layers, x [N,H,W,C].
#pragma once

#include "autograd/pool.h"
#include "autograd/resize.h"
#include "nn/module.h"

namespace nextgrad {

class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(const Window& window) : window_(window) {}
  Variable forward(const Variable& x) const override { return max_pool2d(x, window_); }

 private:
  Window window_;
};

class AvgPool2d : public Module {
 public:
  explicit AvgPool2d(const Window& window, bool count_padding = true)
      : window_(window), count_padding_(count_padding) {}
  Variable forward(const Variable& x) const override {
    return average_pool2d(x, window_, count_padding_);
  }

 private:
  Window window_;
  bool count_padding_;
};

// [N,H,W,C] -> [N,C].
class GlobalAvgPool : public Module {
 public:
  Variable forward(const Variable& x) const override { return global_average_pool(x); }
};

// To `scale` times the size, rounded down.
class Upsample : public Module {
 public:
  explicit Upsample(double scale, Resize mode = Resize::bilinear) : scale_(scale), mode_(mode) {}
  Variable forward(const Variable& x) const override {
    return resize(x, scaled(x.dim(1)), scaled(x.dim(2)), mode_);
  }

 private:
  std::int64_t scaled(std::int64_t extent) const {
    return static_cast<std::int64_t>(static_cast<double>(extent) * scale_);
  }
  double scale_;
  Resize mode_;
};

}  // namespace nextgrad
