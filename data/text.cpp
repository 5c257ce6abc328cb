#include "data/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace nextgrad {

std::string in_quotes(const std::string& name) {
  using nlohmann::json;
  return json(name.substr(0, 80)).dump(-1, ' ', true, json::error_handler_t::replace);
}

bool is_plain_name(const std::string& name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > 32 && c < 127; });
}

}  // namespace nextgrad
