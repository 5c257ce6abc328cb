// Names of parameters in checkpoints of others, and which variant a checkpoint is of.
#pragma once

#include <string>
#include <vector>

#include "models/segnext.h"
#include "nn/state_dict.h"

namespace nextgrad {

// Renames tensors of a published checkpoint to this library's names for SegNeXt: drops the prefix
// `module.` (distributed training); MMSegmentation 1.x's `mlp.dwconv.weight` becomes
// `mlp.dwconv.dwconv.weight`; if the file holds an encoder alone (no name starts with
// `backbone.`), `backbone.` is put before all but the ImageNet classifier `head.*`, which is
// dropped, as are auxiliary heads (their names go to `left_out`, if given).
StateDict adapt_published_names(const StateDict& file,
                                std::vector<std::string>* left_out = nullptr);

// The same for MSCANClassifier: no prefix `backbone.`, the classifier `head.*` kept, the decoder
// `decode_head.*` and auxiliary heads dropped.
StateDict adapt_encoder_names(const StateDict& file, std::vector<std::string>* left_out = nullptr);

// MMSegmentation 1.x's name of a tensor: `mlp.dwconv.dwconv.weight` becomes `mlp.dwconv.weight`.
std::string mmseg1_name(const std::string& name);
// The published one, the other way round.
std::string published_name(const std::string& name);

// What the shapes of a state dict with adapt_published_names' names tell of its model.
struct Architecture {
  std::array<std::int64_t, 4> channels{}, blocks{};  // 0: no such tensors
  std::int64_t decoder_channels = 0, classes = 0;    // 0: an encoder alone
  std::string variant;                               // "" if it is none of segnext_variants()
};
Architecture architecture_of(const StateDict& weights);

}  // namespace nextgrad
