// The options of a test protocol, shared by eval and predict, and what they mean.
#pragma once

#include <string>
#include <vector>

#include "apps/commands/command_line.h"
#include "apps/inference/inference.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

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

}  // namespace nextgrad
