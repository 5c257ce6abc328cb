// An encoder: an image becomes the feature maps of four stages, which a decoder reads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "nn/module.h"

namespace nextgrad {

struct EncoderConfig {
  enum class Kind { mscan, mit };  // of SegNeXt; of SegFormer
  Kind kind = Kind::mscan;
  std::array<int, 4> channels = {32, 64, 160, 256};
  std::array<int, 4> blocks = {3, 3, 5, 2};
  std::array<int, 4> ratios = {8, 8, 4, 4};  // width of the feed-forward part over the channels
  double drop_path = 0.1;  // probability of the last block; linear from 0 at the first
  bool recompute = false;  // keep only each block's input, compute its inside again in backward

  // MSCAN's attention: what the paper's ablations take away (tables 6 and 8).
  enum class Attention { msca, lka };      // several strips, or VAN's one large kernel
  enum class Gate { product, sum, none };  // of the attention with its input
  Attention attention = Attention::msca;
  std::vector<int> branches = {7, 11, 21};  // odd, each once; their strips stand for k x k kernels
  bool mixing = true;                       // of the channels, 1x1
  Gate gate = Gate::product;

  // MiT's self-attention: heads, and by how much keys and values are fewer along a side.
  std::array<int, 4> heads = {1, 2, 5, 8};
  std::array<int, 4> reductions = {8, 4, 2, 1};

  bool operator==(const EncoderConfig&) const = default;
};

class Encoder : public Module {
 public:
  explicit Encoder(EncoderConfig config) : config_(std::move(config)) {}
  // image [N,H,W,3], at least 32x32 -> the four stages' features at 1/4, 1/8, 1/16 and 1/32, sizes
  // rounded up.
  std::vector<Variable> features(const Variable& image) const;
  Variable forward(Variable image) const override { return features(image).back(); }
  // Stage i of 0 to 3: of the image, then of the features of the stage before.
  Variable stage(std::size_t i, const Variable& x) const;
  std::int64_t stage_parameters(std::size_t i) const;  // how many
  const EncoderConfig& config() const { return config_; }
  // What this and what follows compute in, instead of the image's dtype: the image is cast to it.
  // bf16, on a GPU: half the memory, and products on tensor cores; weights, statistics, the NMF and
  // losses stay f32 (mixed precision: Micikevicius et al., 2018).
  void set_activations(DType dtype) { activations_ = dtype; }

 protected:
  struct Stage {  // an embedding, which makes the map smaller, blocks, and a norm
    const Module* embed;
    std::vector<const Module*> blocks;
    const Module* norm;
  };
  std::vector<Stage> stages_;
  // The drop path of block `index`, counted over all stages.
  double drop_path_of(int index) const;

 private:
  std::vector<double> masks_to_come() const;  // the drop path's, in their order

  EncoderConfig config_;
  std::optional<DType> activations_;
};

inline constexpr int kImageChannels = 3;

// What a model calls its encoder: as the published files of its kind.
constexpr const char* name_of(EncoderConfig::Kind kind) {
  return kind == EncoderConfig::Kind::mit ? "segformer" : "backbone";
}

// Throws InputError for what no encoder can be: no channels, attention of nothing, channels that
// its heads do not divide, and for settings of another kind of encoder.
std::unique_ptr<Encoder> make_encoder(const EncoderConfig& config);

}  // namespace nextgrad
