// What messages about names are made of.
#pragma once

#include <string>
#include <vector>

namespace nextgrad {

// The candidate with the fewest edits (Levenshtein distance) to `word`; "" when none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace nextgrad
