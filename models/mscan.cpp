#include "models/mscan.h"

#include <numeric>

#include "autograd/arithmetic.h"
#include "autograd/recompute.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

constexpr int kImageChannels = 3;
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

MSCA::MSCA(int channels)
    : conv0_(child<DepthwiseConv2d>("conv0", channels, same_window(5))),
      strips_{strip(0, 7, channels), strip(1, 11, channels), strip(2, 21, channels)},
      mix_(child<Conv2d>("conv3", pointwise(channels, channels))) {}

MSCA::Strip MSCA::strip(int index, int kernel, int channels) {
  const std::string name = "conv" + std::to_string(index);
  auto& row = child<DepthwiseConv2d>(name + "_1", channels, same_window_2d(1, kernel));
  auto& column = child<DepthwiseConv2d>(name + "_2", channels, same_window_2d(kernel, 1));
  return {row, column};
}

Variable MSCA::forward(Variable u) const {
  const Variable local = conv0_(u);
  Variable attention = local;
  for (const auto& [row, column] : strips_) attention = attention + column(row(local));
  return mix_(attention) * u;  // nothing squashes the attention
}

Attention::Attention(int channels)
    : proj_1_(child<Conv2d>("proj_1", pointwise(channels, channels))),
      msca_(child<MSCA>("spatial_gating_unit", channels)),
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

Block::Block(int channels, int ratio, double drop_path)
    : scale_1_(parameter("layer_scale_1", {channels}, Init::constant(kLayerScale))),
      scale_2_(parameter("layer_scale_2", {channels}, Init::constant(kLayerScale))),
      norm1_(child<BatchNorm2d>("norm1", channels)),
      attention_(child<Attention>("attn", channels)),
      norm2_(child<BatchNorm2d>("norm2", channels)),
      feed_forward_(child<FeedForward>("mlp", channels, channels * ratio)),
      drop_path_(child<DropPath>("drop_path", drop_path)) {}

Variable Block::forward(Variable x) const {
  const Variable y = x + drop_path_(scale_1_ * attention_(norm1_(x)));
  return y + drop_path_(scale_2_ * feed_forward_(norm2_(y)));
}

MSCAN::MSCAN(const MSCANConfig& config) : config_(config) {
  const int total = std::accumulate(config.blocks.begin(), config.blocks.end(), 0);
  int count = 0, in = kImageChannels;
  for (std::size_t i = 0; i < config.channels.size(); ++i) {
    const int channels = config.channels[i];
    const std::string number = std::to_string(i + 1);
    Stage stage;
    if (i == 0)
      stage.embed = &child<Stem>("patch_embed1", channels);
    else
      stage.embed = &child<Downsample>("patch_embed" + number, in, channels);
    for (int j = 0; j < config.blocks[i]; ++j, ++count) {
      const double drop = total > 1 ? config.drop_path * count / (total - 1) : 0;
      stage.blocks.push_back(
          &child<Block>(fmt::format("block{}.{}", number, j), channels, config.ratios[i], drop));
    }
    stage.norm = &child<LayerNorm>("norm" + number, channels);
    stages_.push_back(std::move(stage));
    in = channels;
  }
}

std::vector<Variable> MSCAN::features(const Variable& image) const {
  check(image.ndim() == 4 && image.dim(3) == kImageChannels,
        "MSCAN: wants images [N,H,W,3], got {}", image.shape().str());
  check(image.dim(1) >= 32 && image.dim(2) >= 32,
        "MSCAN: image of {}x{} is too small; 32x32 is the least", image.dim(1), image.dim(2));
  std::vector<Variable> features;
  Variable x = cast(image, activations_.value_or(image.dtype()));
  for (const Stage& stage : stages_) {
    x = (*stage.embed)(x);
    for (const Block* block : stage.blocks) {
      const auto run = [block](const std::vector<Variable>& in) { return (*block)(in.front()); };
      x = config_.recompute && grad_enabled() ? recomputed(run, {x}) : (*block)(x);
    }
    x = (*stage.norm)(x);
    features.push_back(x);
  }
  return features;
}

}  // namespace nextgrad
