#include "models/mix_transformer.h"

#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

// Patches that overlap keep what is continuous across their borders: 7x7 a quarter of the size, 3x3
// half of it.
class PatchEmbedding : public Module {
 public:
  PatchEmbedding(int in, int out, int kernel, int stride)
      : proj_(child<Conv2d>("proj", Conv2dOptions{.in_channels = in,
                                                  .out_channels = out,
                                                  .window = same_window(kernel, stride)})),
        norm_(child<LayerNorm>("layer_norm", out)) {}
  Variable forward(Variable x) const override { return norm_(proj_(x)); }

 private:
  Conv2d& proj_;
  LayerNorm& norm_;
};

// [N,H,W,C] -> [N,H W,C]
Variable tokens(const Variable& map) {
  return reshape(map, {map.dim(0), map.dim(1) * map.dim(2), map.dim(3)});
}

}  // namespace

SpatialReduction::SpatialReduction(int channels, int r)
    : reduce_(
          child<Conv2d>("sequence_reduction",
                        Conv2dOptions{.in_channels = channels,
                                      .out_channels = channels,
                                      .window = {.kh = r, .kw = r, .stride_h = r, .stride_w = r}})),
      norm_(child<LayerNorm>("layer_norm", channels)) {}

SelfAttention::SelfAttention(int channels, int heads, int reduction)
    : heads_(heads),
      query_(child<Linear>("q_proj", channels, channels)),
      key_(child<Linear>("k_proj", channels, channels)),
      value_(child<Linear>("v_proj", channels, channels)),
      output_(child<Linear>("o_proj", channels, channels)) {
  if (reduction > 1)
    reduction_ = &child<SpatialReduction>("sequence_reduction", channels, reduction);
}

Variable SelfAttention::forward(Variable x) const {
  const Variable seen = reduction_ ? (*reduction_)(x) : x;
  const Variable y = attention(tokens(query_(x)), tokens(key_(seen)), tokens(value_(seen)), heads_);
  return output_(reshape(y, x.shape()));
}

MixFeedForward::MixFeedForward(int channels, int hidden)
    : fc1_(child<Linear>("fc1", channels, hidden)),
      position_(child<DepthwiseConv2d>("dwconv.dwconv", hidden, same_window(3))),
      fc2_(child<Linear>("fc2", hidden, channels)) {}

Variable MixFeedForward::forward(Variable x) const {
  return fc2_(gelu(position_(fc1_(x))));
}

TransformerBlock::TransformerBlock(int channels, int heads, int reduction, int ratio,
                                   double drop_path)
    : norm_before_(child<LayerNorm>("layernorm_before", channels)),
      attention_(child<SelfAttention>("attention", channels, heads, reduction)),
      norm_after_(child<LayerNorm>("layernorm_after", channels)),
      feed_forward_(child<MixFeedForward>("mlp", channels, channels * ratio)),
      drop_path_(child<DropPath>("drop_path", drop_path)) {}

Variable TransformerBlock::forward(Variable x) const {
  const Variable y = x + drop_path_(attention_(norm_before_(x)));
  return y + drop_path_(feed_forward_(norm_after_(y)));
}

MixTransformer::MixTransformer(const EncoderConfig& config) : Encoder(config) {
  int count = 0, in = kImageChannels;
  for (std::size_t i = 0; i < config.channels.size(); ++i) {
    const int channels = config.channels[i];
    const std::string name = fmt::format("stages.{}.", i);
    Stage stage{};
    stage.embed = &child<PatchEmbedding>(name + "patch_embeddings", in, channels, i == 0 ? 7 : 3,
                                         i == 0 ? 4 : 2);
    for (int j = 0; j < config.blocks[i]; ++j, ++count)
      stage.blocks.push_back(&child<TransformerBlock>(fmt::format("{}blocks.{}", name, j), channels,
                                                      config.heads[i], config.reductions[i],
                                                      config.ratios[i], drop_path_of(count)));
    stage.norm = &child<LayerNorm>(name + "layer_norm", channels);
    stages_.push_back(std::move(stage));
    in = channels;
  }
}

}  // namespace nextgrad
