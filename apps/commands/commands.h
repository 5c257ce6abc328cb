// The subcommands of segnext, one file each.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/settings/precision.h"
#include "apps/settings/settings.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

// Each adds itself to `root`, which runs it at the end of parsing; throws Error or InputError then.
void train_command(CLI::App& root);
void pretrain_command(CLI::App& root);
void eval_command(CLI::App& root);
void predict_command(CLI::App& root);
void preset_command(CLI::App& root);
void data_command(CLI::App& root);
void prepare_command(CLI::App& root);
void info_command(CLI::App& root);
void convert_command(CLI::App& root);
void bench_command(CLI::App& root);
void data_bench_command(CLI::App& bench);  // its subcommands
void gemm_bench_command(CLI::App& bench);

// What `segnext --version` prints: version, commit, what it was built for, what is linked.
std::string version_text();

// Registers an option whose text is parsed as a Size (a bad one throws InputError at parsing).
void add_size(CLI::App& app, const std::string& option, Size& size, const std::string& help);
// An option for a number in a range, whose default the help shows.
template <class T, class Bound>
CLI::Option* add_number(CLI::App& app, const std::string& option, T& value, Bound lowest,
                        Bound highest, const std::string& help) {
  return app.add_option(option, value, help)
      ->check(CLI::Range(lowest, highest))
      ->capture_default_str();
}
// --weights, which must be there, and --variant.
void add_weights(CLI::App& app, std::string& weights, std::string& variant);
// --threads, --device and --precision, of every command that computes.
void add_placement(CLI::App& app, Placement& placement, int& threads);
// --data, --data-root, --split and --max-pixels (which holds from the parsing on), for a data set
// that is only read.
void add_data(CLI::App& app, DatasetConfig& data, std::string& split);
// Throws InputError if write_json could not even begin, before hours are spent on the text.
void check_output(const std::string& path);
// Into a file the user named, if any: atomically; into a device or pipe, directly. "-" is stdout.
// What is not UTF-8 (names of files) is replaced.
void write_json(const std::string& path, const nlohmann::json& json);

}  // namespace nextgrad
