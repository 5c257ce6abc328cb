// What a device does on its own while the host goes on: whole steps again, and tensors on their
// way.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace nextgrad {

// Work that a device keeps and does again as a whole, on the same addresses: a CUDA graph.
class Capture {
 public:
  virtual ~Capture() = default;
  // Submits the work. Where it draws random numbers or steps an optimiser, it does so for
  // `iterations` after the one that was captured, with learning rates times `lr_ratio`.
  virtual void replay(std::uint64_t iterations = 0, double lr_ratio = 1) = 0;
};

// A tensor on its way from the host to a device, beside what the device computes.
class Transfer {
 public:
  virtual ~Transfer() = default;
  // Puts it into `destination`, of its shape and dtype, before whatever is submitted afterwards.
  virtual void receive(Tensor& destination) = 0;
};

}  // namespace nextgrad
