// segnext bench gemm, a subcommand of bench.
#pragma once

#include "apps/commands/commands.h"

namespace nextgrad {

Command gemm_bench_command(CLI::App& bench);

}  // namespace nextgrad
