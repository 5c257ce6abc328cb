// The subcommands of segnext, one file each.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/settings/precision.h"
#include "apps/settings/settings.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

struct Command {
  CLI::App* app;
  std::function<void()> run;  // once the arguments are parsed; throws Error or InputError
};
Command train_command(CLI::App& root);
Command pretrain_command(CLI::App& root);
Command eval_command(CLI::App& root);
Command predict_command(CLI::App& root);
Command preset_command(CLI::App& root);
Command data_command(CLI::App& root);
Command prepare_command(CLI::App& root);
Command info_command(CLI::App& root);
Command convert_command(CLI::App& root);
Command bench_command(CLI::App& root);

// What `segnext --version` prints: version, commit, what it was built for, what is linked.
std::string version_text();

// Registers an option whose text is parsed as a Size (a bad one throws InputError at parsing).
void add_size(CLI::App& app, const std::string& option, Size& size, const std::string& help);
// --device and --precision, of every command that computes.
void add_placement(CLI::App& app, Placement& placement);
// --max-pixels, which holds from the parsing on.
void add_max_pixels(CLI::App& app);
// --data, --data-root, --split and --max-pixels, for a data set that is only read.
void add_data(CLI::App& app, DatasetConfig& data, std::string& split);
// Throws InputError if write_output could not even begin, before hours are spent on the text.
void check_output(const std::string& path);
// Text into a file the user named: atomically; into a device or pipe, directly. "-" is stdout.
void write_output(const std::string& path, const std::string& text);

// JSON by write_output; what is not UTF-8 (names of files) is replaced.
void write_json(const std::string& path, const nlohmann::json& json);

}  // namespace nextgrad
