// segnext bench data, a subcommand of bench.
#pragma once

#include "apps/commands/commands.h"

namespace nextgrad {

Command data_bench_command(CLI::App& bench);

}  // namespace nextgrad
