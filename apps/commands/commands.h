// The subcommands of segnext, one file each.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/commands/command_line.h"
#include "apps/settings/precision.h"
#include "apps/settings/settings.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

// Each adds itself to `root`, which runs it at the end of parsing; throws Error or InputError then.
void train_command(Command root);
void pretrain_command(Command root);
void eval_command(Command root);
void predict_command(Command root);
void preset_command(Command root);
void data_command(Command root);
void prepare_command(Command root);
void info_command(Command root);
void convert_command(Command root);
void bench_command(Command root);
void data_bench_command(Command bench);  // its subcommands
void gemm_bench_command(Command bench);

// What `segnext --version` prints: version, commit, what it was built for, what is linked.
std::string version_text();

// --weights, which must be there, and --variant.
void add_weights(Command app, std::string& weights, std::string& variant);
// --threads, --device and --precision, of every command that computes.
void add_placement(Command app, Placement& placement, int& threads);
// --data, --data-root, --split and --max-pixels (which holds from the parsing on), for a data set
// that is only read.
void add_data(Command app, DatasetConfig& data, std::string& split);
// Throws InputError if write_json could not even begin, before hours are spent on the text.
void check_output(const std::string& path);
// Into a file the user named, if any: atomically; into a device or pipe, directly. "-" is stdout.
// What is not UTF-8 (names of files) is replaced.
void write_json(const std::string& path, const nlohmann::json& json);

}  // namespace nextgrad
