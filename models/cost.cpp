#include "models/cost.h"

#include <array>
#include <numeric>
#include <utility>

namespace nextgrad {

namespace {

constexpr std::size_t kDecoder = 4;  // after the encoder's four stages

struct Map {  // a feature map
  std::int64_t h, w;
  std::int64_t pixels() const { return h * w; }
};

// Names carry the number of their stage first: "backbone.block2.0.attn".
std::size_t stage_of(const std::string& name) {
  if (name.starts_with("decode_head")) return kDecoder;
  const std::size_t digit = name.find_first_of("1234");
  return digit == std::string::npos ? 0 : static_cast<std::size_t>(name[digit] - '1');
}

void add(StageCost& stage, const Product& p) {
  stage.products.push_back(p);
  stage.multiply_adds += p.m * p.n * p.k;
}

// Counts a layer and moves `at` on to its output. Layers come in the order they run in.
void add_layer(StageCost& stage, const Module* layer, Map& at) {
  std::int64_t channels = 0;
  if (const auto* conv = dynamic_cast<const Conv2d*>(layer)) {
    const Window& window = conv->options().window;
    at = {window.out_h(at.h), window.out_w(at.w)};
    channels = conv->weight.dim(0);
    add(stage, {at.pixels(), channels, conv->weight.value().numel() / channels});
  } else if (const auto* depthwise = dynamic_cast<const DepthwiseConv2d*>(layer)) {
    channels = depthwise->weight.dim(2);
    stage.multiply_adds += depthwise->weight.value().numel() * at.pixels();
  } else if (const auto* norm = dynamic_cast<const ChannelNorm*>(layer)) {
    channels = norm->weight.dim(0);
  }
  stage.activation_bytes += 4 * channels * at.pixels();
}

// NMF of X [width, n]: the softmax's product, updates of both factors, the last coefficients and
// the reconstruction.
void add_decomposition(StageCost& stage, const DecompositionOptions& o, std::int64_t width,
                       std::int64_t n) {
  const std::int64_t rank = o.rank, steps = o.eval_steps;
  add(stage, {n, rank, width});
  for (std::int64_t i = 0; i <= steps; ++i)
    for (const Product& p : {Product{n, rank, width}, {rank, rank, width}, {n, rank, rank}})
      add(stage, p);
  for (std::int64_t i = 0; i < steps; ++i)
    for (const Product& p : {Product{width, rank, n}, {rank, rank, n}, {width, rank, rank}})
      add(stage, p);
  add(stage, {n, width, rank});
  stage.activation_bytes += 4 * ((steps + 1) * 3 * n * rank + steps * 3 * width * rank + width * n);
}

// What functions between the layers put out, a pixel: a block's two GELUs, gate and three residual
// sums; and the decoder's joined maps, four ReLUs, residual sum and dropout.
std::int64_t between_layers(const SegNeXtConfig& config, std::size_t stage) {
  const MSCANConfig& e = config.encoder;
  if (stage == kDecoder)
    return std::accumulate(e.channels.begin() + 1, e.channels.end(), 6 * config.decoder_channels);
  return e.blocks[stage] * e.channels[stage] * (5 + e.ratios[stage]);
}

struct PaperFigures {
  const char* variant;
  double millions, giga;
};
constexpr PaperFigures kPaper[] = {
    {"tiny", 4.3, 6.6}, {"small", 13.9, 15.9}, {"base", 27.6, 34.9}, {"large", 48.9, 70.0}};

}  // namespace

ModelCost segnext_cost(const SegNeXtConfig& config, std::int64_t height, std::int64_t width) {
  if (height < 32 || width < 32)
    fail_input("an image of {}x{} is too small; 32x32 is the least", height, width);
  const SegNeXt model(config);
  std::array<StageCost, kDecoder + 1> stages;
  std::array<Map, kDecoder + 1> maps{{{height, width}}};  // each stage's latest
  for (const Parameter& p : model.named_parameters())
    stages[stage_of(p.name)].parameters += p.value.value().numel();
  std::size_t i = 0;
  for (const auto& [name, module] : model.named_modules()) {
    const std::size_t before = std::exchange(i, stage_of(name));
    if (i != before) maps[i] = maps[i == kDecoder ? 1 : before];
    add_layer(stages[i], module, maps[i]);
    if (const auto* ham = dynamic_cast<const MatrixDecomposition*>(module))
      add_decomposition(stages[i], ham->options(), config.decoder_channels, maps[i].pixels());
    // Between the stem's two convolutions, at twice the stage's size, is another GELU.
    if (name == "backbone.patch_embed1.proj.1")
      stages[i].activation_bytes += 2 * module->parameter_count() * maps[i].pixels();
  }
  ModelCost model_cost;
  model_cost.total.name = "total";
  for (i = 0; i < stages.size(); ++i) {
    stages[i].name = i == kDecoder ? "decoder" : fmt::format("stage {}", i + 1);
    stages[i].activation_bytes += 4 * between_layers(config, i) * maps[i].pixels();
    model_cost.total.parameters += stages[i].parameters;
    model_cost.total.multiply_adds += stages[i].multiply_adds;
    model_cost.total.activation_bytes += stages[i].activation_bytes;
    model_cost.stages.push_back(std::move(stages[i]));
  }
  for (const PaperFigures& p : kPaper) {
    if (config.variant != p.variant) continue;
    model_cost.paper_parameters = p.millions * 1e6;
    model_cost.paper_multiply_adds = p.giga * 1e9;
  }
  return model_cost;
}

}  // namespace nextgrad
