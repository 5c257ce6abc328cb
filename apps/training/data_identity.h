// What a run learns from, so that it is not resumed on something else.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/datasets/dataset.h"

namespace nextgrad {

// {"name", "samples", "listing": CRC-32 of the samples' names (and classes), in order}.
nlohmann::json identity_of(const std::string& split, const Dataset& dataset);
nlohmann::json identity_of(const std::string& split, const ClassDataset& dataset);

// Of two {"classes": [printable names, in order], "splits": [identities]}: "class 1 was a and is
// b", "the split train had 20 samples and has 21"; empty if nothing changed. Throws json::exception
// for something else.
std::string difference(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace nextgrad
