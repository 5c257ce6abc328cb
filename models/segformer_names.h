// The names of SegFormer's tensors in files of others. This library's are those of transformers 5.
#pragma once

#include <string>
#include <vector>

#include "nn/state_dict.h"

namespace nextgrad {

// Whether the names (names_without_prefix) are of a SegFormer, or of its encoder alone, in any of
// the spellings: of transformers 5 or 4, or of NVlabs' published files.
bool is_segformer(const std::vector<std::string>& names);

// Its tensors under our names, "segformer.stages.0.blocks.0.attention.q_proj.weight",
// "decode_head.classifier.weight"; the encoder's without `segformer.` where the file has neither
// that nor `backbone.`, and `head.weight` of an ImageNet classifier. NVlabs' keys and values, one
// tensor there, are split. `names`, one a tensor, replace the file's.
StateDict with_segformer_names(const StateDict& file, const std::vector<std::string>& names);

}  // namespace nextgrad
