// A recipe of several runs, each from the weights of the one before: OUT/phases.toml, and the run's
// folders OUT/1-NAME, OUT/2-NAME.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/settings/presets.h"
#include "apps/training/run_folder.h"

namespace nextgrad {

// The file that makes a folder one of phases.
std::string phases_file(const RunArguments& run);

// Runs those that are not done yet, one after another; `run` names the folder. Each begins with the
// last weights of the one before, and its classifier anew where their classes differ. `given`:
// options, for every phase that has such a setting; data-root may be KIND=FOLDER,KIND=FOLDER.
// Throws what run_training() and the tasks do. All ranks call it at once.
void run_phases(const RunArguments& run, std::vector<Phase> phases,
                const std::map<std::string, std::string>& given, Communicator& everyone = world());

}  // namespace nextgrad
