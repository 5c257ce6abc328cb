// What a PyTorch checkpoint's pickle says of its tensors: which, and where their numbers lie.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/weights/element_type.h"
#include "data/weights/pickle.h"
#include "data/weights/weights_file.h"

namespace nextgrad {

// A run of elements that tensors view.
struct TorchStorage {
  std::string key;  // its name in the file
  ElementType type = ElementType::f32;
  bool untyped = false;     // then numel counts bytes, whatever a tensor says of its type
  std::uint64_t numel = 0;  // as the pickle tells
  std::uint64_t bytes() const { return untyped ? numel : numel * format_of(type).bytes; }
  bool operator==(const TorchStorage&) const = default;
};

struct TorchTensor {
  std::string name;
  std::size_t storage = 0;  // index into TorchWeights::storages
  ElementType type = ElementType::f32;
  std::uint64_t offset = 0;        // elements
  Shape shape = {}, strides = {};  // strides in elements
};

struct TorchWeights {
  WeightsFile file;  // but for the tensors and their types
  std::vector<TorchTensor> tensors;
  std::vector<TorchStorage> storages;  // those the tensors use
};

// Finds the weights as read_torch_file describes. Every tensor lies within its storage. Throws
// InputError.
TorchWeights find_weights(const Pickle& pickle);

// Bytes of an element of every storage the pickle speaks of, used or not: the older format needs
// them to find where each begins. Throws InputError.
std::map<std::string, std::uint64_t> storage_element_bytes(const Pickle& pickle);

}  // namespace nextgrad
