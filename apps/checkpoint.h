// Weights of a SegNeXt as a .safetensors file in PyTorch's names and layout, with what one must
// know to use them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/transforms.h"
#include "models/segnext.h"

namespace nextgrad {

struct ModelInfo {
  SegNeXtConfig config;
  std::vector<std::string> classes;
  Palette palette;
  Normalize normalize;
};

// Metadata of the file: variant, classes (JSON array of names), palette, mean, std.
void save_weights(const std::string& path, const SegNeXt& model, const ModelInfo& info);

struct LoadedModel {
  std::unique_ptr<SegNeXt> model;  // evaluation mode
  ModelInfo info;
};
// Opens weights written by `segnext train`, or published ones if `variant` names their model (the
// number of classes is then read from the classifier). Throws InputError for another file, and
// unless every tensor matches.
LoadedModel load_weights(const std::string& path, const std::string& variant, Device device);

// Copies what fits from a file of weights (an ImageNet encoder, or a whole model, whose classifier
// may be of other classes). Returns how many tensors matched; throws InputError when fewer than
// nine tenths of the encoder's did.
std::string load_pretrained(SegNeXt& model, const std::string& path);

// Throws InputError unless the weights' classes are as many as the data set's.
void check_classes(const ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind);

}  // namespace nextgrad
