// The training loop, whatever is trained. Everything an iteration does is a pure function of the
// settings, the state before it, and (seed, iteration): so a run that was interrupted anywhere
// continues bit for bit from its last state file.
#pragma once

#include <functional>

#include "apps/training/run_folder.h"
#include "apps/training/train_task.h"

namespace nextgrad {

// What the progress says behind a run's time left: told that, and what an iteration takes, seconds.
using ProgressTail = std::function<std::string(double left, double iteration)>;

// Trains to the end, or until a signal asks to stop. With `state`, continues from it.
// Returns false if it was stopped. Throws Error when the loss is not finite, and whatever else
// goes wrong, having saved what was trained until then; the message says how to go on. All ranks
// call it at once; root writes and talks.
bool run_training(TrainTask& task, const RunFolder& folder, const std::optional<TrainState>& state,
                  Communicator& everyone = world(), const ProgressTail& tail = {});
// The same from beginning to end of a command: with its folder made ready, and the end told. Throws
// Preempted where a signal asked to make room.
bool run_training(TrainTask& task, RunArguments& run, const std::optional<TrainState>& state,
                  Communicator& everyone = world(), const ProgressTail& tail = {});

}  // namespace nextgrad
