// A file of weights, whichever kind: .safetensors or PyTorch's .pth (zip, or the older format).
#pragma once

#include <string>
#include <vector>

#include "data/element_type.h"
#include "data/safetensors.h"
#include "nn/state_dict.h"

namespace nextgrad {

struct WeightsFile {
  std::string format;  // "safetensors", "PyTorch zip", "PyTorch legacy"
  // .pth: the key under which the weights were, "state_dict" and the like; "" at the top level.
  std::string key;
  StateDict tensors;               // PyTorch's names and layouts, on the CPU
  std::vector<ElementType> types;  // of each tensor in the file
  Metadata metadata;
  // .pth: what lies beside the weights ("meta", "optimizer") and was not read as weights.
  std::vector<std::string> beside;
};

// Opens by content, not by suffix. Throws InputError for what is neither, or is damaged.
WeightsFile read_weights(const std::string& path);

}  // namespace nextgrad
