#include "models/cost.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "tensor/profile.h"

namespace nextgrad {

namespace {

// The ops that are made of multiply-adds, by how their names begin.
constexpr std::string_view kProducts[] = {"conv2d", "depthwise", "strips", "linear",
                                          "feed_",  "matmul",    "attention"};

std::int64_t multiply_adds(const Profile& profile) {
  double flops = 0;
  for (const auto& [name, cost] : profile.ops())
    if (std::ranges::any_of(kProducts, [&](auto kind) { return name.starts_with(kind); }))
      flops += cost.flops;
  return std::llround(flops / 2);
}

struct Named {
  const char* variant;
  PaperFigures figures;
};
constexpr Named kPaper[] = {{"tiny", {4.3e6, 6.6e9}},
                            {"small", {13.9e6, 15.9e9}},
                            {"base", {27.6e6, 34.9e9}},
                            {"large", {48.9e6, 70.0e9}},
                            {"b0", {3.8e6, 8.4e9}},
                            {"b1", {13.7e6, 15.9e9}},
                            {"b2", {27.5e6, 62.4e9}},
                            {"b3", {47.3e6, 79.0e9}}};

// Runs the encoder's stages, then the decoder, each within `part`.
template <class Part>
void run_in_parts(const Segmenter& model, const Variable& image, const Part& part) {
  std::vector<Variable> stages;
  for (std::size_t i = 0; i < 4; ++i)
    part(i, [&] {
      stages.push_back(model.encoder().stage(i, i == 0 ? image : stages.back()));
      stages.back().value();
    });
  Variable logits;
  part(4, [&] {
    logits = model.decoder().logits(stages);
    logits.value();
  });
}

}  // namespace

ModelCost model_cost(const ModelConfig& config, std::int64_t height, std::int64_t width) {
  if (height < 32 || width < 32)
    fail_input("an image of {}x{} is too small; 32x32 is the least", height, width);
  Segmenter model(config);
  const Variable image(Tensor::full({1, height, width, kImageChannels}, 0.5));
  ModelCost cost;
  cost.stages.resize(5);
  model.eval();
  run_in_parts(model, image, [&](std::size_t i, const auto& work) {
    const NoGrad guard;
    const Profile profile;
    work();
    cost.stages[i].multiply_adds = multiply_adds(profile);
  });
  model.train();
  const Backend& backend = image.backend();
  run_in_parts(model, image, [&](std::size_t i, const auto& work) {
    const std::int64_t before = static_cast<std::int64_t>(backend.memory().live);
    work();
    cost.stages[i].activation_bytes = static_cast<std::int64_t>(backend.memory().live) - before;
  });
  const std::int64_t decoder = model.decoder().parameter_count();
  cost.total = {.name = "total"};
  for (std::size_t i = 0; i < 5; ++i) {
    StageCost& stage = cost.stages[i];
    stage.name = i == 4 ? "decoder" : fmt::format("stage {}", i + 1);
    stage.parameters = i == 4 ? decoder : model.encoder().stage_parameters(i);
    cost.total.parameters += stage.parameters;
    cost.total.multiply_adds += stage.multiply_adds;
    cost.total.activation_bytes += stage.activation_bytes;
  }
  return cost;
}

PaperFigures paper_figures(const ModelConfig& config) {
  for (const Named& named : kPaper) {
    const ModelConfig own = model_config(named.variant, 1);
    if (own.variant == config.variant && own.encoder == config.encoder &&
        own.decoder == config.decoder)
      return named.figures;
  }
  return {};
}

}  // namespace nextgrad
