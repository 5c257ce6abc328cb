// What the labels of a run hold, looked at before the first iteration: a model that is trained on
// one class, or on nothing, scores 100 and says nothing.
#pragma once

#include <string>

#include "data/class_dataset.h"
#include "data/dataset.h"

namespace nextgrad {

// Reads labels of a split, spread over it, until every class was seen or `seconds` are over (but
// not before a labelled pixel was found). Throws InputError where no pixel has a class; with
// `learns`, also where all have the same one. Returns a warning that names the classes of which no
// pixel was seen, or "". `damaged_too`: labels that cannot be read are passed over, not thrown.
std::string survey_labels(const Dataset& dataset, const std::string& split, bool learns,
                          bool damaged_too, double seconds = 5);
// The same of pictures that show one class each.
std::string survey_labels(const ClassDataset& dataset, const std::string& split);

}  // namespace nextgrad
