// The page that shows where a model looks, and maps as pictures.
#pragma once

#include <string>

#include "apps/inference/checkpoint.h"
#include "apps/inference/explain.h"

namespace nextgrad {

// The map over the picture in grey, dark to bright as it grows from 0 to its largest value; the
// picture's size.
Image heat_over(const Image& picture, const HeatMap& map);

// One file that needs nothing else. `picture` as the network saw it, `label` its prediction.
std::string explain_page(const std::string& name, const Image& picture, const LabelMap& label,
                         const Explanation& explanation, const ModelInfo& info);

}  // namespace nextgrad
