// Which model: a variant, and in what it differs from it. The same names in a run's TOML (tables
// [encoder] and [decoder]), as options (--encoder.branches 7,21) and in the metadata of weights.
#pragma once

#include <string>
#include <vector>

#include "apps/settings/settings.h"
#include "models/segmenter.h"

namespace nextgrad {

struct ModelSettings {
  std::string variant = "nano";
  // Of the encoder. Empty lists: the variant's own.
  std::vector<std::int64_t> channels, blocks, ratios;
  std::string attention = "msca", gate = "product";
  std::vector<std::int64_t> branches = {7, 11, 21};
  bool mixing = true;
  // Of the decoder. "own", empty and 0: the variant's own.
  std::string decoder = "own", factors = "nmf", gradient = "unrolled";
  std::vector<std::int64_t> stages;
  std::int64_t width = 0, rank = 0, steps = 6, eval_steps = 7;
};

Settings settings_of(ModelSettings& model);
// What of them is not the variant's own, as TOML; "" for a variant as it is.
std::string difference_text(const ModelSettings& model);
// "tiny", "tiny with encoder.gate = "none"".
std::string name_of(const ModelSettings& model);
// Throws InputError for settings that contradict each other.
ModelConfig model_config(const ModelSettings& model, int classes);

}  // namespace nextgrad
