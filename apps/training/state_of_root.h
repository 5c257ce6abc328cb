// The state of a resumed run on all ranks: one process reads the file for all.
#pragma once

#include <optional>

#include "data/weights/train_state.h"
#include "tensor/communicator.h"

namespace nextgrad {

// What root gives; that of the others does not count.
std::optional<TrainState> state_of_root(std::optional<TrainState> own, Communicator& everyone);

}  // namespace nextgrad
