// The subcommands of segnext, one file each, and what several of them share.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/commands/command_line.h"
#include "apps/inference/inference.h"
#include "apps/settings/precision.h"
#include "apps/settings/settings.h"
#include "apps/training/run_folder.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

// Each adds itself to `root`, which runs it at the end of parsing; throws Error or InputError then.
void train_command(Command root);
void pretrain_command(Command root);
void eval_command(Command root);
void predict_command(Command root);
void preset_command(Command root);
void study_command(Command root);
void data_command(Command root);
void prepare_command(Command root);
void info_command(Command root);
void convert_command(Command root);
void bench_command(Command root);
void data_bench_command(Command bench);  // its subcommands
void gemm_bench_command(Command bench);

// What `segnext --version` prints: version, commit, what it was built for, what is linked.
std::string version_text();

// The program in a line that the processes of a command must share (same.h).
std::string program_line();

// Throws InputError if write_json could not even begin, before hours are spent on the text.
void check_output(const std::string& path);
// Into a file the user named, if any: atomically; into a device or pipe, directly. "-" is stdout.
// What is not UTF-8 (names of files) is replaced. Of several processes root writes.
void write_json(const std::string& path, const nlohmann::json& json);

// --- options ---

// --weights, which must be there, and --variant.
void add_weights(Command app, std::string& weights, std::string& variant);
// --threads, --device, --precision and --wait-limit, of every command that computes.
void add_placement(Command app, Placement& placement);
// Before a command computes, alone or with others: its threads, and how long it waits for them.
void take_place(const Placement& placement);
// --data, --data-root, --split and --max-pixels (which holds from the parsing on), for a data set
// that is only read.
void add_data(Command app, DatasetConfig& data, std::string& split);

// The options of a test protocol, shared by eval and predict.
struct ProtocolOptions {
  std::string preset;
  Size size, base_size, window, stride;
  std::int64_t multiple = 0;  // 0: 32, or 1 for a sliding window
  std::vector<double> scales;
  bool flip = false, multi_scale = false;
  std::int64_t batch = 1;
  int workers = 3;
};

// Registers --size, --base-size, --multiple, --window, --stride, --scales, --flip, --multi-scale,
// --batch, --workers and --preset.
void add_protocol(Command app, ProtocolOptions& options);

// The protocol they ask for: those that were not given come from the preset, if one is named.
// Throws InputError for a stride above the window, or scales out of range.
Protocol protocol_of(Command app, const ProtocolOptions& options, const Normalize& normalize);

// With a preset, the kind of data is known: --data may be left out, or be the data set's folder.
void use_preset_data(Command app, const std::string& preset, DatasetConfig& data);

// --config, --out, --resume, --overwrite and an option for each setting.
struct RunOptions : RunArguments {
  std::map<std::string, std::string> given;  // settings on the command line
  void add_to(Command app, const Settings& defaults);
  // What root's open() finds, on all ranks.
  std::optional<TrainState> open_for_all();
};

}  // namespace nextgrad
