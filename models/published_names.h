// Names of parameters in checkpoints of others.
#pragma once

#include <string>

#include "nn/state_dict.h"

namespace nextgrad {

// Renames tensors of a published checkpoint to this library's names for SegNeXt: drops the prefix
// `module.` (distributed training); MMSegmentation 1.x's `mlp.dwconv.weight` becomes
// `mlp.dwconv.dwconv.weight`; if the file holds an encoder alone (no name starts with
// `backbone.`), `backbone.` is put before all but the ImageNet classifier `head.*`, which is
// dropped, as are auxiliary heads.
StateDict adapt_published_names(const StateDict& file);

}  // namespace nextgrad
