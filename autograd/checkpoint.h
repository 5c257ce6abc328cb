// Activation recomputation (Chen et al., "Training deep nets with sublinear memory cost", 2016).
#pragma once

#include <functional>
#include <vector>

#include "autograd/variable.h"

namespace nextgrad {

// fn(inputs), keeping nothing but the inputs: the backward runs fn a second time. fn must compute
// the same both times; `Replay` objects (random keys, running statistics) registered with
// add_replay_hook are put back before the second run.
Variable checkpoint(const std::function<Variable(const std::vector<Variable>&)>& fn,
                    const std::vector<Variable>& inputs);

// True inside the second run: a layer must not update running statistics twice.
bool recomputing();

// A piece of per-thread state that fn reads and advances (nn's counter of random keys).
struct ReplayHook {
  std::function<std::uint64_t()> save;
  std::function<void(std::uint64_t)> restore;
};
void add_replay_hook(ReplayHook hook);

}  // namespace nextgrad
