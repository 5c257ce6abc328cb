// For who keeps what was made of a module's weights, such as a recorded step: whether they are
// still what they were.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "tensor/address.h"

namespace nextgrad {

class WeightsWatch {
 public:
  explicit WeightsWatch(const Module& module)
      : parameters_(module.named_parameters()), buffers_(module.named_buffers()) {}
  // Whether a parameter or buffer lies elsewhere than at the last call; false at the first.
  bool moved() { return differs(addresses_, address_of); }
  // Whether one has been written to, or lies elsewhere.
  bool changed() {
    return differs(versions_, [](const Tensor& t) { return t.version(); });
  }

 private:
  template <class T, class Fn>
  bool differs(std::vector<T>& last, const Fn& of) {
    std::vector<T> now;
    for (const Parameter& p : parameters_) now.push_back(of(p.value.value()));
    for (const Buffer& b : buffers_) now.push_back(of(*b.value));
    const std::vector<T> before = std::exchange(last, std::move(now));
    return !before.empty() && before != last;
  }
  std::vector<Parameter> parameters_;
  std::vector<Buffer> buffers_;
  std::vector<const void*> addresses_;
  std::vector<std::uint64_t> versions_;
};

}  // namespace nextgrad
