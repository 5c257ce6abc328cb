// Weights of a SegNeXt as a file in PyTorch's names and layout, with what one must know to use
// them: written as .safetensors; read as that or as PyTorch's .pth, whichever the content is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/precision.h"
#include "data/dataset.h"
#include "data/transforms.h"
#include "data/weights_file.h"
#include "models/classifier.h"
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
// Opens weights written by `segnext train`, or published ones. What they do not say themselves is
// read from the shapes (variant, number of classes) or from `variant`; class names of others'
// metadata are used if there are as many as classes. Prints which tensors matched. Throws
// InputError for another file, and unless every tensor matches.
LoadedModel load_weights(const std::string& path, const std::string& variant,
                         const Placement& placement);

// Copies what fits from a file of weights: an ImageNet encoder (whose classifier is left out), or a
// whole model. Returns lines that say what matched, what is missing, unexpected and mis-shaped.
// Throws InputError, with nothing copied, when fewer than nine tenths of the encoder's tensors
// match, when the file's encoder is a larger one, and for a classifier of other classes unless
// `reset_classifier` (which leaves the file's classifier out).
std::string load_pretrained(SegNeXt& model, const std::string& path, bool reset_classifier = false);
// The same for the ImageNet model, whose classifier is `head`.
std::string load_pretrained(MSCANClassifier& model, const std::string& path,
                            bool reset_classifier = false);

// "x.pth: PyTorch zip, 347 tensors under state_dict".
std::string describe(const std::string& path, const WeightsFile& file);

// Throws InputError unless the weights' classes are as many as the data set's.
void check_classes(const ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind);

}  // namespace nextgrad
