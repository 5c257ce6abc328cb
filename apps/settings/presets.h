// The recipes of SegNeXt's paper and SegFormer's, by data set and variant: "ade20k-tiny".
#pragma once

#include <string>
#include <vector>

#include "apps/settings/run_config.h"

namespace nextgrad {

// The data sets that have recipes, in the paper's order and then ours, with a line on each.
struct PresetData {
  std::string name, about;
};
std::vector<PresetData> preset_data();

// All names: DATA-VARIANT, variants tiny, small, base, large and b0 to b5.
std::vector<std::string> preset_names();

// The settings of a recipe; data-root and pretrained are the user's to give. Throws InputError for
// another name, with the nearest one.
TrainConfig preset_config(const std::string& name);

}  // namespace nextgrad
