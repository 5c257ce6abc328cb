#include "apps/report/cost_table.h"

#include "models/cost.h"

namespace nextgrad {

std::string cost_table(const SegNeXtConfig& config, std::int64_t height, std::int64_t width) {
  const ModelCost model = segnext_cost(config, height, width);
  const auto row = [](const std::string& name, double parameters, double multiply_adds,
                      const std::string& megabytes) {
    return fmt::format("{:<22}{:>14.3f}{:>18.3f}{:>18}\n", name, parameters / 1e6,
                       multiply_adds / 1e9, megabytes);
  };
  const auto stage_row = [&](const StageCost& s) {
    return row(s.name, static_cast<double>(s.parameters), static_cast<double>(s.multiply_adds),
               fmt::format("{:.1f}", static_cast<double>(s.activation_bytes) / 1e6));
  };
  std::string text = fmt::format("SegNeXt {}, {} classes, one image of {}x{}\n", config.variant,
                                 config.num_classes, height, width);
  text += fmt::format("{:<22}{:>14}{:>18}{:>18}\n", "", "parameters (M)", "multiply-adds (G)",
                      "activations (MB)");
  for (const StageCost& s : model.stages) text += stage_row(s);
  text += stage_row(model.total);
  if (model.paper_parameters > 0)
    text += row("paper (150, 512x512)", model.paper_parameters, model.paper_multiply_adds, "-");
  return text;
}

}  // namespace nextgrad
