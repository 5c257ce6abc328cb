// What a model costs, for the terminal.
#pragma once

#include <string>

#include "models/segnext.h"

namespace nextgrad {

// Of each stage on one image height x width, lines ended by '\n', with the paper's figures beside.
std::string cost_table(const SegNeXtConfig& config, std::int64_t height, std::int64_t width);

}  // namespace nextgrad
