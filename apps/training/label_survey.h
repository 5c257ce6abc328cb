// What the labels of a run hold, looked at before the first iteration: a model that is trained on
// one class, or on nothing, scores 100 and says nothing.
#pragma once

#include <string>

#include "data/datasets/dataset.h"

namespace nextgrad {

struct LabelSurvey {
  bool learns = false;        // one class alone is an error, too
  bool own_folder = false;    // described by a TOML file: says what could be changed there
  bool pass_damaged = false;  // labels that cannot be read are passed over, not thrown
};
// Reads labels of a split, spread over it, until every class was seen or five seconds are over (but
// not before a labelled pixel was found). Throws InputError where no pixel has a class. Returns a
// warning that names the classes of which no pixel was seen, or "".
std::string survey_labels(const Dataset& dataset, const std::string& split,
                          const LabelSurvey& options);
// The same of pictures that show one class each.
std::string survey_labels(const ClassDataset& dataset, const std::string& split);

}  // namespace nextgrad
