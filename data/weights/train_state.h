// What a run needs beside its weights to continue bit for bit: one .safetensors file whose metadata
// holds the scalars.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/weights/weights_file.h"

namespace nextgrad {

struct TrainState {
  std::int64_t iteration = 0;  // iterations done
  std::uint64_t seed = 0;
  double best = -1;                  // best validation mIoU so far; negative: none yet
  std::string config;                // the run's resolved settings, TOML
  std::vector<NamedTensor> tensors;  // weights, optimiser and average, as the trainer names them
  Metadata extra;                    // anything else, as text
  bool summed = true;                // read from a file with check sums, which were right
};

// How the metadata's `format` of every version begins.
inline constexpr const char* kStateFormat = "nextgrad training state";

void save_train_state(const std::string& path, const TrainState& state);

// Throws InputError for a file that is damaged or is no training state. Files of older versions
// have no check sums (`summed`).
TrainState load_train_state(const std::string& path);

}  // namespace nextgrad
