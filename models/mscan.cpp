#include "models/mscan.h"

#include <numeric>

#include "autograd/arithmetic.h"
#include "autograd/checkpoint.h"
#include "autograd/feed_forward.h"
#include "autograd/residual.h"
#include "autograd/shape_ops.h"
#include "autograd/strips.h"

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
  Variable forward(const Variable& x) const override {
    return norm2_(conv2_(gelu(norm1_(conv1_(x)))));
  }

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
  Variable forward(const Variable& x) const override { return norm_(proj_(x)); }

 private:
  Conv2d& proj_;
  BatchNorm2d& norm_;
};

}  // namespace

MSCA::MSCA(int channels)
    : local_(child<DepthwiseConv2d>("conv0", channels, same_window(5))),
      strips_{strip(0, 7, channels), strip(1, 11, channels), strip(2, 21, channels)},
      mix_(child<Conv2d>("conv3", pointwise(channels, channels))) {}

MSCA::Strip MSCA::strip(int index, int kernel, int channels) {
  const std::string name = "conv" + std::to_string(index);
  auto& row = child<DepthwiseConv2d>(name + "_1", channels, same_window_2d(1, kernel));
  auto& column = child<DepthwiseConv2d>(name + "_2", channels, same_window_2d(kernel, 1));
  return {row, column};
}

Variable MSCA::forward(const Variable& u) const {
  const Variable local = local_(u);
  std::vector<StripVariables> branches;
  for (const auto& [row, column] : strips_)
    branches.push_back({row.weight, row.bias, column.weight, column.bias});
  // The attention is a convolution's output: nothing squashes it.
  return mix_(strips(local, branches)) * u;
}

Attention::Attention(int channels)
    : proj_1_(child<Conv2d>("proj_1", pointwise(channels, channels))),
      msca_(child<MSCA>("spatial_gating_unit", channels)),
      proj_2_(child<Conv2d>("proj_2", pointwise(channels, channels))) {}

Variable Attention::add_to(const Variable& base, const Variable& x, const Variable& scale,
                           const Tensor& mask) const {
  const Variable attended = msca_(proj_1_.forward(x, Activation::gelu));
  const Variable sum = residual(base, x, scale, mask);
  if (training()) x.backend().expect_batch_norm();  // the block's second
  return proj_2_.add_to(sum, attended, Activation::none, scale, mask);
}

FeedForward::FeedForward(int channels, int hidden)
    : fc1_(child<Conv2d>("fc1", pointwise(channels, hidden))),
      position_(child<DepthwiseConv2d>("dwconv.dwconv", hidden, same_window(3))),
      fc2_(child<Conv2d>("fc2", pointwise(hidden, channels))) {}

Variable FeedForward::add_to(const Variable& base, const Variable& x, const Variable& scale,
                             const Tensor& mask) const {
  // A checkpoint's first run records nothing either, but must give what its second run gives.
  if (training() || grad_enabled() || mask.defined()) {
    const Variable hidden = position_(fc1_(x));
    if (training()) x.backend().expect_batch_norm();  // the next block's first, if there is one
    return fc2_.add_to(base, hidden, Activation::gelu, scale, mask);
  }
  return feed_forward(
      base, x,
      {fc1_.matrix(), fc1_.bias, position_.weight, position_.bias, fc2_.matrix(), fc2_.bias},
      scale);
}

Block::Block(int channels, int ratio, double drop_path)
    : layer_scale_1_(parameter("layer_scale_1", {channels}, Init::constant(kLayerScale))),
      layer_scale_2_(parameter("layer_scale_2", {channels}, Init::constant(kLayerScale))),
      norm1_(child<BatchNorm2d>("norm1", channels)),
      attention_(child<Attention>("attn", channels)),
      norm2_(child<BatchNorm2d>("norm2", channels)),
      feed_forward_(child<FeedForward>("mlp", channels, channels * ratio)),
      drop_path_(child<DropPath>("drop_path", drop_path)) {}

Variable Block::forward(const Variable& x) const {
  const Variable y = attention_.add_to(x, norm1_(x), layer_scale_1_, drop_path_.mask(x));
  return feed_forward_.add_to(y, norm2_(y), layer_scale_2_, drop_path_.mask(y));
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
      x = config_.recompute && grad_enabled() ? checkpoint(run, {x}) : (*block)(x);
    }
    x = (*stage.norm)(x);
    features.push_back(x);
  }
  return features;
}

}  // namespace nextgrad
