// Names of parameters in checkpoints of others, and which variant a checkpoint is of.
#pragma once

#include <string>
#include <vector>

#include "models/segmenter.h"
#include "nn/state_dict.h"

namespace nextgrad {

// The names without what stands before every name of the model: a wrapper's `module.` or
// `_orig_mod.` (anywhere, as often as it comes), a program's `model.`, `net.` or any other before
// the encoder. What it was goes to `taken`, unless that holds something. Of several models the one
// not called ema or teacher is meant; names outside it stay as they are.
std::vector<std::string> names_without_prefix(const StateDict& file, std::string* taken = nullptr);

// Renames tensors of a published checkpoint to this library's names: names_without_prefix;
// SegNeXt's of MMSegmentation 1.x, `mlp.dwconv.weight`, becomes `mlp.dwconv.dwconv.weight`;
// SegFormer's as in segformer_names.h; if the file holds an encoder alone (no name starts with
// `backbone.` or `segformer.`), that is put before the encoder's and the ImageNet classifier
// `head.*` is dropped, as are auxiliary heads and a layer of NVlabs' that nothing uses (their names
// go to `left_out`, if given).
StateDict adapt_published_names(const StateDict& file, std::vector<std::string>* left_out = nullptr,
                                std::string* taken = nullptr);

// The same for Classifier: no such prefix, the classifier `head.*` kept, the decoder
// `decode_head.*` and auxiliary heads dropped.
StateDict adapt_encoder_names(const StateDict& file, std::vector<std::string>* left_out = nullptr,
                              std::string* taken = nullptr);

// A name of an encoder's tensor without `backbone.` or `segformer.`.
std::string without_encoder(const std::string& name);
// MMSegmentation 1.x's name of a tensor: `mlp.dwconv.dwconv.weight` becomes `mlp.dwconv.weight`.
std::string mmseg1_name(const std::string& name);
// The published one, the other way round.
std::string published_name(const std::string& name);

// What the shapes of a state dict with adapt_published_names' names tell of its model.
struct Architecture {
  EncoderConfig::Kind kind = EncoderConfig::Kind::mscan;
  std::array<std::int64_t, 4> channels{}, blocks{};  // 0: no such tensors
  std::int64_t decoder_channels = 0, classes = 0;    // 0: an encoder alone
  std::string variant;                               // "" if it is none of variant_names()
};
Architecture architecture_of(const StateDict& weights);

}  // namespace nextgrad
