// Activation recomputation (Chen et al., "Training deep nets with sublinear memory cost", 2016).
#pragma once

#include <functional>
#include <vector>

#include "autograd/variable.h"

namespace nextgrad {

// fn(inputs), keeping nothing but the inputs: the backward runs fn a second time. fn must compute
// the same both times: what set_replay_hook() names (the counter of random keys) is put back before
// the second run, and a layer that updates something asks recomputing(). fn may capture variables,
// parameters or computed ones; they receive their gradients as if it had been called plainly.
// Inputs and captured variables with a gradient that are changed in place before the backward make
// it throw; captured bare tensors are not watched and must stay as they are.
Variable recomputed(const std::function<Variable(const std::vector<Variable>&)>& fn,
                    const std::vector<Variable>& inputs);

// True inside the second run: a layer must not update running statistics twice.
bool recomputing();

// A piece of per-thread state that fn reads and advances (nn's counter of random keys).
struct ReplayHook {
  std::function<std::uint64_t()> save;
  std::function<void(std::uint64_t)> restore;
};
void set_replay_hook(ReplayHook hook);

}  // namespace nextgrad
