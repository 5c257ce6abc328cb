#include "models/cost.h"

#include <numeric>

namespace nextgrad {

namespace {

struct Map {  // a feature map
  std::int64_t h, w;
  std::int64_t pixels() const { return h * w; }
  Map halved() const { return {(h + 1) / 2, (w + 1) / 2}; }
};

// Adds layers to a stage's cost; `kept` counts f32 numbers the backward needs.
struct Counter {
  StageCost cost;

  void keep(std::int64_t numbers) { cost.activation_bytes += 4 * numbers; }
  void conv(std::int64_t in, std::int64_t out, std::int64_t window, Map at, bool bias = true) {
    cost.parameters += in * out * window + (bias ? out : 0);
    cost.multiply_adds += in * out * window * at.pixels();
    keep(out * at.pixels());
  }
  void depthwise(std::int64_t channels, std::int64_t window, Map at) {
    cost.parameters += channels * (window + 1);
    cost.multiply_adds += channels * window * at.pixels();
    keep(channels * at.pixels());
  }
  void norm(std::int64_t channels, Map at) {
    cost.parameters += 2 * channels;
    keep(channels * at.pixels());
  }
  void elementwise(std::int64_t channels, Map at) { keep(channels * at.pixels()); }
};

void count_block(Counter& c, std::int64_t channels, std::int64_t ratio, Map at) {
  const std::int64_t hidden = channels * ratio;
  c.cost.parameters += 2 * channels;  // layer scale
  c.norm(channels, at);
  c.conv(channels, channels, 1, at);
  c.elementwise(channels, at);  // GELU
  c.depthwise(channels, 5 * 5, at);
  for (const std::int64_t k : {7, 11, 21}) {
    c.depthwise(channels, k, at);
    c.depthwise(channels, k, at);
  }
  c.conv(channels, channels, 1, at);
  c.elementwise(channels, at);  // gate
  c.conv(channels, channels, 1, at);
  c.elementwise(channels, at);  // the attention's own residual, then the block's
  c.elementwise(channels, at);
  c.norm(channels, at);
  c.conv(channels, hidden, 1, at);
  c.depthwise(hidden, 3 * 3, at);
  c.elementwise(hidden, at);
  c.conv(hidden, channels, 1, at);
  c.elementwise(channels, at);
}

Map count_embed(Counter& c, std::int64_t in, std::int64_t out, Map at, bool stem) {
  at = at.halved();
  if (stem) {
    c.conv(in, out / 2, 9, at);
    c.norm(out / 2, at);
    c.elementwise(out / 2, at);
    in = out / 2;
    at = at.halved();
  }
  c.conv(in, out, 9, at);
  c.norm(out, at);
  return at;
}

// NMF of X [width, pixels]: the softmax's product, `steps` updates of both factors, the last
// coefficients and the reconstruction.
void count_nmf(Counter& c, std::int64_t width, std::int64_t rank, std::int64_t steps, Map at) {
  const std::int64_t n = at.pixels(), product = width * n * rank;
  const std::int64_t coef = product + width * rank * rank + n * rank * rank;
  const std::int64_t bases = product + n * rank * rank + width * rank * rank;
  c.cost.multiply_adds += product + (steps + 1) * coef + steps * bases + product;
  c.keep((steps + 1) * 3 * n * rank + steps * 3 * width * rank + width * n);
}

Counter count_decoder(const SegNeXtConfig& config, Map at) {
  Counter c;
  const auto& channels = config.encoder.channels;
  const std::int64_t joined = channels[1] + channels[2] + channels[3];
  const std::int64_t width = config.decoder_channels;
  c.elementwise(joined, at);  // resized and concatenated
  const auto conv_norm = [&](std::int64_t in) {
    c.conv(in, width, 1, at, false);
    c.norm(width, at);
    c.elementwise(width, at);  // ReLU
  };
  conv_norm(joined);
  c.conv(width, width, 1, at);  // ham_in
  c.elementwise(width, at);
  count_nmf(c, width, config.rank, 7, at);
  conv_norm(width);          // ham_out
  c.elementwise(width, at);  // the sum
  conv_norm(width);          // align
  c.elementwise(width, at);  // dropout
  c.conv(width, config.num_classes, 1, at);
  return c;
}

struct PaperFigures {
  const char* variant;
  double millions, giga;
};
constexpr PaperFigures kPaper[] = {
    {"tiny", 4.3, 6.6}, {"small", 13.9, 15.9}, {"base", 27.6, 34.9}, {"large", 48.9, 70.0}};

std::string row(const std::string& name, double parameters, double multiply_adds,
                const std::string& megabytes) {
  return fmt::format("{:<22}{:>14.3f}{:>18.3f}{:>18}\n", name, parameters / 1e6,
                     multiply_adds / 1e9, megabytes);
}

std::string row(const StageCost& s) {
  return row(s.name, static_cast<double>(s.parameters), static_cast<double>(s.multiply_adds),
             fmt::format("{:.1f}", static_cast<double>(s.activation_bytes) / 1e6));
}

}  // namespace

ModelCost segnext_cost(const SegNeXtConfig& config, std::int64_t height, std::int64_t width) {
  if (height < 32 || width < 32) {
    fail_input("an image of {}x{} is too small; 32x32 is the least", height, width);
  }
  ModelCost model;
  Map at{height, width}, eighth{};
  std::int64_t in = 3;
  const MSCANConfig& e = config.encoder;
  for (std::size_t i = 0; i < e.channels.size(); ++i) {
    Counter c;
    c.cost.name = "stage " + std::to_string(i + 1);
    at = count_embed(c, in, e.channels[i], at, i == 0);
    if (i == 1) eighth = at;
    for (int j = 0; j < e.blocks[i]; ++j) count_block(c, e.channels[i], e.ratios[i], at);
    c.norm(e.channels[i], at);
    model.stages.push_back(c.cost);
    in = e.channels[i];
  }
  model.stages.push_back(count_decoder(config, eighth).cost);
  model.stages.back().name = "decoder";
  model.total.name = "total";
  for (const StageCost& s : model.stages) {
    model.total.parameters += s.parameters;
    model.total.multiply_adds += s.multiply_adds;
    model.total.activation_bytes += s.activation_bytes;
  }
  for (const PaperFigures& p : kPaper) {
    if (config.variant != p.variant) continue;
    model.paper_parameters = p.millions * 1e6;
    model.paper_multiply_adds = p.giga * 1e9;
  }
  return model;
}

std::string cost_table(const SegNeXtConfig& config, std::int64_t height, std::int64_t width) {
  const ModelCost model = segnext_cost(config, height, width);
  std::string text = fmt::format("SegNeXt {}, {} classes, one image of {}x{}\n", config.variant,
                                 config.num_classes, height, width);
  text += fmt::format("{:<22}{:>14}{:>18}{:>18}\n", "", "parameters (M)", "multiply-adds (G)",
                      "activations (MB)");
  for (const StageCost& s : model.stages) text += row(s);
  text += row(model.total);
  if (model.paper_parameters > 0) {
    text += row("paper (150, 512x512)", model.paper_parameters, model.paper_multiply_adds, "-");
  }
  return text;
}

}  // namespace nextgrad
