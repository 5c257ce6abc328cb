// The runs of a study, one after another: each an ordinary run in OUT/VARIANT-seedN. What is found
// goes into OUT/study.json after each, and from there into study.md and study.html.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "apps/settings/study.h"
#include "tensor/communicator.h"

namespace nextgrad {

struct StudyOptions {
  std::string out;                // folder
  std::vector<std::string> only;  // variants to run; empty: all
  bool wants(const std::string& variant) const {
    return only.empty() || std::ranges::find(only, variant) != only.end();
  }
};

// What it would train, and what the models cost: lines for the terminal. The data need not be
// there. Throws InputError that names the variant of which no model can be built.
std::string study_plan(const Study& study);
// Trains what is not complete yet, having looked at all variants first; goes on where a former call
// was stopped or killed. All ranks call it at once. Throws InputError also where a run that is
// there was made with other settings.
void run_study(const Study& study, const StudyOptions& options, Communicator& everyone = world());
// Writes the tables from the results that are there.
void report_study(const Study& study, const std::string& out);

}  // namespace nextgrad
