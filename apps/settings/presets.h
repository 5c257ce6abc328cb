// The recipes of SegNeXt's paper and SegFormer's, by data set and variant: "ade20k-tiny".
#pragma once

#include <string>
#include <variant>
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

// One of several runs that follow on each other, each from the weights of the one before.
struct Phase {
  std::string name;  // of its folder: "ade20k"
  std::variant<TrainConfig, PretrainConfig> config;
};
// Recipes of several phases: the paper's of VOC, with and without COCO, of Context from ADE20K, and
// ImageNet before any; their names are NAME-VARIANT: "voc-coco-large", "imagenet-ade20k-tiny".
std::vector<PresetData> phased_preset_data();
// Empty for a name that is none of those.
std::vector<Phase> preset_phases(const std::string& name);
// As TOML, a [[phase]] each, and back. Throws InputError; no [[phase]]: empty.
std::string phases_text(const std::vector<Phase>& phases);
std::vector<Phase> read_phases(const std::string& file);

}  // namespace nextgrad
