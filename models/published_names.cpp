#include "models/published_names.h"

#include <algorithm>
#include <string_view>

namespace nextgrad {

namespace {

std::string without_prefix(const std::string& name, std::string_view prefix) {
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

// `...mlp.dwconv.weight` -> `...mlp.dwconv.dwconv.weight`.
std::string with_inner_dwconv(const std::string& name) {
  constexpr std::string_view outer = "mlp.dwconv.";
  const std::size_t at = name.find(outer);
  if (at == std::string::npos || name.find("dwconv.dwconv.") != std::string::npos) return name;
  return name.substr(0, at + outer.size()) + "dwconv." + name.substr(at + outer.size());
}

}  // namespace

StateDict adapt_published_names(const StateDict& file) {
  StateDict renamed;
  for (const NamedTensor& t : file) {
    renamed.push_back({with_inner_dwconv(without_prefix(t.name, "module.")), t.value});
  }
  const bool encoder_alone = std::none_of(renamed.begin(), renamed.end(), [](const NamedTensor& t) {
    return t.name.starts_with("backbone.");
  });
  StateDict result;
  for (NamedTensor& t : renamed) {
    if (t.name.starts_with("auxiliary_head.")) continue;
    if (encoder_alone && t.name.starts_with("head.")) continue;
    if (encoder_alone && !t.name.starts_with("decode_head.")) t.name = "backbone." + t.name;
    result.push_back(std::move(t));
  }
  return result;
}

}  // namespace nextgrad
