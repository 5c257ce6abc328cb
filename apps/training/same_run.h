// What the ranks of a training agree on before they begin.
#pragma once

#include <optional>

#include "apps/training/run_folder.h"
#include "apps/training/train_task.h"

namespace nextgrad {

// The state that root has read, on all ranks: one process reads the file for all.
std::optional<TrainState> state_of_root(std::optional<TrainState> own, Communicator& everyone);

// Throws PeerFailure (as of bad input) that names the first difference unless all ranks are of one program, with the
// settings, the data set and the kind of device of root.
void require_same_run(const RunArguments& run, const TrainerOptions& options,
                      Communicator& everyone);

}  // namespace nextgrad
