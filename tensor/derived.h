// What is made of tensors that stay as they are from call to call: a weight packed for a kernel, a
// norm folded into it.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace nextgrad {

// A weight that changes with every step is asked for at most twice between its changes, as
// recomputed() runs a block again: what is kept from the third call on costs it no memory.
enum class Keep { at_once, from_third_call };

// make(); or, if it was called before under this name for the same tensors and number, and none of
// them was written to since, what it returned then. That is kept beside the first tensor's numbers,
// one result of each name, and goes when they go. Some of `from` may be undefined. What make()
// returns must not share their storage. Threads may call it at once.
std::vector<Tensor> derived(std::string_view name, const std::vector<Tensor>& from, Keep keep,
                            const std::function<std::vector<Tensor>()>& make, double number = 0);
// Of a single tensor.
inline Tensor derived_one(std::string_view name, const std::vector<Tensor>& from, Keep keep,
                          const std::function<Tensor()>& make) {
  return derived(name, from, keep, [&] { return std::vector<Tensor>{make()}; }).front();
}

}  // namespace nextgrad
