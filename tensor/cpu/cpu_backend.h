// The CPU backend. Each family of methods is implemented in the file of its name, kernels (free
// functions on pointers and extents) above, the methods that dispatch on the dtype below.
#pragma once

#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tensor/backend.h"
#include "tensor/cpu/allocator.h"

namespace nextgrad::cpu {

// The numbers of an optional tensor; null if it is undefined.
template <class T>
T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<std::remove_const_t<T>>() : nullptr;
}

// All that the CPU must offer: right by itself, with the fused ops composed (fused.h).
class CpuPrimitives : public Backend {
 public:
  Device device() const override { return {}; }
  void* allocate(std::size_t bytes) override { return allocator_.allocate(bytes); }
  void release(void* block, std::size_t bytes) override { allocator_.release(block, bytes); }
  MemoryStats memory() const override { return allocator_.stats(); }
  void reset_peak() override { allocator_.reset_peak(); }
  void empty_cache() override { allocator_.empty_cache(); }
  void upload(void* destination, const void* host, std::size_t bytes) override {
    std::memcpy(destination, host, bytes);
  }
  void download(void* host, const void* source, std::size_t bytes) override {
    std::memcpy(host, source, bytes);
  }
#define NEXTGRAD_OP override
#include "tensor/primitives.h"

 private:
  CachingAllocator allocator_;
};

// And what it does faster in one pass.
class CpuBackend final : public CpuPrimitives {
 public:
  Tensor linear_gate(const Tensor& gate, const Tensor& x, const Tensor& weight,
                     const Tensor& bias) override;
  bool trains_feed_forward(const Tensor& x, const FeedForwardWeights& f) override;
  FeedForwardGradients feed_forward_backward(const Tensor& x, const FeedForwardWeights& f,
                                             const Tensor& dy) override;
#include "tensor/fused_ops.h"
#undef NEXTGRAD_OP
};

}  // namespace nextgrad::cpu
