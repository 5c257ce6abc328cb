#include "apps/inference/weights_metadata.h"

#include <fmt/format.h>

#include "apps/inference/checkpoint.h"

namespace nextgrad {

Metadata model_metadata(const std::string& variant, const std::vector<std::string>& classes,
                        const Normalize& normalize) {
  using nlohmann::json;
  return {{"format", "pt"},
          {"variant", variant},
          {"classes", json(classes).dump(-1, ' ', false, json::error_handler_t::replace)},
          {"mean", json(normalize.mean).dump()},
          {"std", json(normalize.deviation).dump()}};
}

void read_normalize(const WeightsFile& file, Normalize& normalize) {
  read_metadata(file, "mean", normalize.mean);
  read_metadata(file, "std", normalize.deviation);
  for (const float d : normalize.deviation)
    if (!(d > 0)) fail_input("{}: its metadata std holds {}; write the file again", file.path, d);
}

std::string choose_variant(const WeightsFile& file, const std::string& wanted,
                           const std::string& by_shapes) {
  const auto known = file.metadata.find("variant");
  const std::string given = wanted.empty() ? "" : segnext_config(wanted, 1).variant;
  const std::string told = known != file.metadata.end() ? known->second : by_shapes;
  if (told.empty() && given.empty())
    fail_input("{}: its shapes are of no variant known; add --variant tiny (or another)",
               file.path);
  if (!told.empty() && !given.empty() && told != given)
    fail_input("{}: holds variant {}, not {}; leave --variant out", file.path, told, given);
  return told.empty() ? given : told;
}

void fill_model(Module& model, const WeightsFile& file, const StateDict& adapted,
                const std::string& variant, const std::string& prefix) {
  const auto report = load_state_dict(model, adapted, false);
  if (!report.covers() || is_another_model(model, adapted))
    fail_input("{}: weights of another model than {}: {}", file.path, variant, report.summary());
  check_usable(file.path, wanted_by(model, adapted));
  fmt::print("{}, variant {}\n{}{}\n", describe(file), variant, describe_prefix(prefix),
             report.lines());
  model.eval();
}

}  // namespace nextgrad
