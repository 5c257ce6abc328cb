// What a file of weights says of itself, whichever model it is of.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/augment/transforms.h"
#include "data/weights/weights_file.h"
#include "models/published_names.h"
#include "nn/module.h"

namespace nextgrad {

// Format, variant, classes (a JSON array of names), mean and std of the pictures.
Metadata model_metadata(const std::string& variant, const std::vector<std::string>& classes,
                        const Normalize& normalize);

// The JSON value under a key, into `value`, if the key is there. Throws InputError for another.
template <class T>
void read_metadata(const WeightsFile& file, const char* key, T& value) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) return;
  try {
    check(found->second.size() < (8u << 20), "too long");
    nlohmann::json::parse(found->second).get_to(value);
  } catch (const std::exception&) {
    fail_input("{}: its metadata {} is damaged; write the file again with segnext", file.path, key);
  }
}
// Mean and standard deviation; those of ImageNet where the file does not say.
void read_normalize(const WeightsFile& file, Normalize& normalize);

// The variant that the metadata, the user (`wanted`, may be empty) and the shapes agree on. Throws
// InputError if they do not, or none is known.
std::string choose_variant(const WeightsFile& file, const std::string& wanted,
                           const std::string& by_shapes);

// Copies the adapted tensors into a model, every one of which must be there, says so on standard
// output, and readies the model for evaluation. `prefix` was taken off the names. Throws InputError
// for weights of another model and for numbers that are not finite.
void fill_model(Module& model, const WeightsFile& file, const StateDict& adapted,
                const std::string& variant, const std::string& prefix);

}  // namespace nextgrad
