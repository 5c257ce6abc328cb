#include "models/mscan.h"

#include <algorithm>
#include <array>

#include "autograd/arithmetic.h"
#include "nn/observer.h"

namespace nextgrad {

namespace {

constexpr double kLayerScale = 0.01;  // at the beginning

Conv2dOptions halving(int in, int out) {
  return {.in_channels = in, .out_channels = out, .window = same_window(3, 2)};
}

// The first stage's beginning: two convolutions of stride 2, to a quarter of the size. Its layers
// are numbered as in the published files, where 2 is the GELU.
class Stem : public Module {
 public:
  explicit Stem(int channels)
      : conv1_(child<Conv2d>("proj.0", halving(kImageChannels, channels / 2))),
        norm1_(child<BatchNorm2d>("proj.1", channels / 2)),
        conv2_(child<Conv2d>("proj.3", halving(channels / 2, channels))),
        norm2_(child<BatchNorm2d>("proj.4", channels)) {}
  Variable forward(Variable x) const override { return norm2_(conv2_(gelu(norm1_(conv1_(x))))); }

 private:
  Conv2d& conv1_;
  BatchNorm2d& norm1_;
  Conv2d& conv2_;
  BatchNorm2d& norm2_;
};

// The other stages' beginning: half the size, more channels.
class Downsample : public Module {
 public:
  Downsample(int in, int out)
      : proj_(child<Conv2d>("proj", halving(in, out))), norm_(child<BatchNorm2d>("norm", out)) {}
  Variable forward(Variable x) const override { return norm_(proj_(x)); }

 private:
  Conv2d& proj_;
  BatchNorm2d& norm_;
};

}  // namespace

MSCA::MSCA(int channels, const EncoderConfig& config)
    : gate_(config.gate), local_(child<DepthwiseConv2d>("conv0", channels, same_window(5))) {
  if (config.attention == EncoderConfig::Attention::lka)  // its names are VAN's
    large_ = &child<DepthwiseConv2d>(
        "conv_spatial", channels,
        Window{.kh = 7, .kw = 7, .pad_h = 9, .pad_w = 9, .dilation_h = 3, .dilation_w = 3});
  else
    for (const int kernel : config.branches) strips_.push_back(strip(kernel, channels));
  if (config.mixing)
    mix_ = &child<Conv2d>(large_ ? "conv1" : "conv3", pointwise(channels, channels));
}

// The published files number the paper's three branches; another is called by its kernel.
MSCA::Strip MSCA::strip(int kernel, int channels) {
  constexpr std::array kPaper = {7, 11, 21};
  const auto found = std::ranges::find(kPaper, kernel);
  const std::string name = found == kPaper.end() ? fmt::format("conv_{0}x{0}", kernel)
                                                 : fmt::format("conv{}", found - kPaper.begin());
  auto& row = child<DepthwiseConv2d>(name + "_1", channels, same_window_2d(1, kernel));
  auto& column = child<DepthwiseConv2d>(name + "_2", channels, same_window_2d(kernel, 1));
  return {row, column};
}

Variable MSCA::forward(Variable u) const {
  const Variable local = local_(u);
  Variable attention = large_ ? (*large_)(local) : local;
  for (const auto& [row, column] : strips_) attention = attention + column(row(local));
  if (mix_) attention = (*mix_)(attention);
  switch (gate_) {
    case EncoderConfig::Gate::product:
      Observer::tell(*this, "attention", attention);
      return attention * u;  // nothing squashes it
    case EncoderConfig::Gate::sum:
      return attention + u;
    case EncoderConfig::Gate::none:
      return attention;
  }
  fail("unknown gate");
}

Attention::Attention(int channels, const EncoderConfig& config)
    : proj_1_(child<Conv2d>("proj_1", pointwise(channels, channels))),
      msca_(child<MSCA>("spatial_gating_unit", channels, config)),
      proj_2_(child<Conv2d>("proj_2", pointwise(channels, channels))) {}

Variable Attention::forward(Variable x) const {
  return x + proj_2_(msca_(gelu(proj_1_(x))));
}

FeedForward::FeedForward(int channels, int hidden)
    : fc1_(child<Conv2d>("fc1", pointwise(channels, hidden))),
      position_(child<DepthwiseConv2d>("dwconv.dwconv", hidden, same_window(3))),
      fc2_(child<Conv2d>("fc2", pointwise(hidden, channels))) {}

Variable FeedForward::forward(Variable x) const {
  return fc2_(gelu(position_(fc1_(x))));
}

Block::Block(int channels, int ratio, double drop_path, const EncoderConfig& config)
    : scale_1_(parameter("layer_scale_1", {channels}, Init::constant(kLayerScale))),
      scale_2_(parameter("layer_scale_2", {channels}, Init::constant(kLayerScale))),
      norm1_(child<BatchNorm2d>("norm1", channels)),
      attention_(child<Attention>("attn", channels, config)),
      norm2_(child<BatchNorm2d>("norm2", channels)),
      feed_forward_(child<FeedForward>("mlp", channels, channels * ratio)),
      drop_path_(child<DropPath>("drop_path", drop_path)) {}

Variable Block::forward(Variable x) const {
  const Variable y = x + drop_path_(scale_1_ * attention_(norm1_(x)));
  return y + drop_path_(scale_2_ * feed_forward_(norm2_(y)));
}

MSCAN::MSCAN(const EncoderConfig& config) : Encoder(config) {
  int count = 0, in = kImageChannels;
  for (std::size_t i = 0; i < config.channels.size(); ++i) {
    const int channels = config.channels[i];
    const std::string number = std::to_string(i + 1);
    Stage stage{};
    if (i == 0)
      stage.embed = &child<Stem>("patch_embed1", channels);
    else
      stage.embed = &child<Downsample>("patch_embed" + number, in, channels);
    for (int j = 0; j < config.blocks[i]; ++j, ++count)
      stage.blocks.push_back(&child<Block>(fmt::format("block{}.{}", number, j), channels,
                                           config.ratios[i], drop_path_of(count), config));
    stage.norm = &child<LayerNorm>("norm" + number, channels);
    stages_.push_back(std::move(stage));
    in = channels;
  }
}

}  // namespace nextgrad
