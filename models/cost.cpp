#include "models/cost.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "autograd/fuse.h"
#include "tensor/profile.h"

namespace nextgrad {

namespace {

// The ops that are made of multiply-adds, by how their names begin.
constexpr std::string_view kProducts[] = {"conv2d", "depthwise", "strips", "linear",
                                          "feed_",  "matmul",    "attention", "nmf"};

std::int64_t multiply_adds(const Profile& profile) {
  double flops = 0;
  for (const auto& [name, cost] : profile.ops())
    if (std::ranges::any_of(kProducts, [&](auto kind) { return name.starts_with(kind); }))
      flops += cost.flops;
  return std::llround(flops / 2);
}

constexpr double kM = 1e6, kG = 1e9;

// Tables 3 and 9; 7; 8; 5; S2, whose models have 171 classes.
const std::vector<std::pair<ModelConfig, PaperFigures>>& paper_models() {
  using Kind = DecoderConfig::Kind;
  const auto with = [](const char* variant, Kind kind, const std::vector<int>& stages = {2, 3, 4}) {
    ModelConfig c = model_config(variant, 150);
    c.decoder.kind = kind;
    c.decoder.stages = stages;
    return c;
  };
  const auto lka = [&](const char* variant) {
    ModelConfig c = model_config(variant, 150);
    c.encoder.attention = EncoderConfig::Attention::lka;
    return c;
  };
  static const std::vector<std::pair<ModelConfig, PaperFigures>> all = {
      {with("tiny", Kind::ham), {4.3 * kM, 6.6 * kG}},
      {with("small", Kind::ham), {13.9 * kM, 15.9 * kG}},
      {with("base", Kind::ham), {27.6 * kM, 34.9 * kG}},
      {with("large", Kind::ham), {48.9 * kM, 70.0 * kG}},
      {model_config("b0", 150), {3.8 * kM, 8.4 * kG}},
      {model_config("b1", 150), {13.7 * kM, 15.9 * kG}},
      {model_config("b2", 150), {27.5 * kM, 62.4 * kG}},
      {model_config("b3", 150), {47.3 * kM, 79.0 * kG}},
      {with("tiny", Kind::mlp, {1, 2, 3, 4}), {4.4 * kM, 10.0 * kG}},
      {with("tiny", Kind::ham, {4}), {4.2 * kM, 4.9 * kG}},
      {with("tiny", Kind::ham, {1, 2, 3, 4}), {4.3 * kM, 12.1 * kG}},
      {lka("tiny"), {4.2 * kM, 6.5 * kG}},
      {lka("small"), {13.8 * kM, 15.8 * kG}},
      {with("base", Kind::cc), {27.8 * kM, 35.7 * kG}},
      {with("base", Kind::ema), {27.4 * kM, 32.3 * kG}},
      {with("base", Kind::nonlocal), {27.6 * kM, 40.9 * kG}},
      {with("tiny", Kind::msca), {4.4 * kM, 6.7 * kG}},
      {with("small", Kind::msca), {14.0 * kM, 15.9 * kG}},
      {with("base", Kind::msca), {28.0 * kM, 33.6 * kG}},
      {with("large", Kind::msca), {50.1 * kM, 69.8 * kG}}};
  return all;
}

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
  const auto images = [&](std::int64_t count) {
    return Variable(Tensor::full({count, height, width, kImageChannels}, 0.5));
  };
  ModelCost cost;
  cost.stages.resize(5);
  model.eval();
  run_in_parts(model, images(1), [&](std::size_t i, const auto& work) {
    const NoGrad guard;
    const NoFusion of_the_model;  // not those of what fusion makes of it
    const Profile profile;
    work();
    cost.stages[i].multiply_adds = multiply_adds(profile);
  });
  model.train();
  // Where a single pixel, or the mean of an image, goes to batch norm, one image has no variance.
  const bool single = config.decoder.kind == DecoderConfig::Kind::aspp ||
                      config.decoder.kind == DecoderConfig::Kind::uper ||
                      (height == 32 && width == 32);
  const std::int64_t count = single ? 2 : 1;
  const Variable batch = images(count);
  const Backend& backend = batch.backend();
  run_in_parts(model, batch, [&](std::size_t i, const auto& work) {
    const std::int64_t before = static_cast<std::int64_t>(backend.memory().live);
    work();
    const std::int64_t after = static_cast<std::int64_t>(backend.memory().live);
    cost.stages[i].activation_bytes = (after - before) / count;
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
  for (const auto& [model, figures] : paper_models())
    if (model.variant == config.variant && model.encoder == config.encoder &&
        model.decoder == config.decoder)
      return figures;
  return {};
}

}  // namespace nextgrad
