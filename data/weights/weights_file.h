// A file of weights, whichever kind: .safetensors or PyTorch's .pth (zip, or the older format).
#pragma once

#include <string>
#include <vector>

#include "data/weights/element_type.h"
#include "data/weights/safetensors.h"
#include "nn/state_dict.h"

namespace nextgrad {

struct WeightsFile {
  std::string path = {};    // of the file itself
  std::string format = {};  // "safetensors", "PyTorch zip", "PyTorch legacy"
  // .pth: the key under which the weights were, "state_dict" and the like; "" at the top level.
  std::string key = {};
  StateDict tensors = {};               // PyTorch's names and layouts, on the CPU
  std::vector<ElementType> types = {};  // of each tensor in the file
  Metadata metadata = {};
  // .pth: what lies beside the weights ("meta", "optimizer") and was not read as weights.
  std::vector<std::string> beside = {};
};

// Opens by content, not by suffix; a run's folder means its best.safetensors. Throws InputError for
// what is neither, or is damaged.
WeightsFile read_weights(const std::string& path);

// What no network can compute with, a text for each tensor: numbers that are not finite (as f32,
// which weights become), a running_var below 0.
std::vector<std::string> unusable(const StateDict& tensors);
// Throws InputError that names the first of them.
void check_usable(const std::string& path, const StateDict& tensors);

}  // namespace nextgrad
