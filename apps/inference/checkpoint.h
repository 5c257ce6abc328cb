// Weights of a SegNeXt as a file in PyTorch's names and layout, with what one must know to use
// them: written as .safetensors; read as that or as PyTorch's .pth, whichever the content is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/settings/precision.h"
#include "data/augment/transforms.h"
#include "data/datasets/dataset.h"
#include "data/weights/weights_file.h"
#include "models/classifier.h"
#include "models/segnext.h"

namespace nextgrad {

struct ModelInfo {
  SegNeXtConfig config;
  std::vector<std::string> classes;  // empty: the file does not say
  Palette palette;                   // one colour a class
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
// metadata are used if there are as many as classes. Prints which tensors matched, what prefix was
// taken off their names and which more there are. Throws InputError for another file, unless every
// tensor of the model is there, and for numbers that are not finite.
LoadedModel load_weights(const std::string& path, const std::string& variant,
                         const Placement& placement);

// Copies what fits from a file of weights: an ImageNet encoder (whose classifier is left out), or a
// whole model. Returns lines that say what matched, what is missing, unexpected and mis-shaped.
// Throws InputError, with nothing copied, when fewer than nine tenths of the encoder's tensors
// match, when the file's encoder is a larger one, for numbers that are not finite, and for a
// classifier of other classes (another number; other names than `classes`, if both are told) unless
// `reset_classifier` (which leaves the file's classifier out).
std::string load_pretrained(SegNeXt& model, const std::string& path, bool reset_classifier = false,
                            const std::vector<std::string>& classes = {});
// The same for the ImageNet model, whose classifier is `head`.
std::string load_pretrained(MSCANClassifier& model, const std::string& path,
                            bool reset_classifier = false,
                            const std::vector<std::string>& classes = {});

// read_weights for a model: throws InputError for a training state, whose weights stand beside it.
WeightsFile read_model_weights(const std::string& path);
// "x.pth: PyTorch zip, 347 tensors under state_dict".
std::string describe(const WeightsFile& file);
// "prefix model. taken off the tensors' names" and a line end; nothing for none.
std::string describe_prefix(const std::string& taken);
// Whether tensors that the model has no place for show that they belong to a larger one: many (a
// tenth) in the parts that it has.
bool is_another_model(const Module& model, const StateDict& tensors);
// Those that the module has a place for.
StateDict wanted_by(const Module& model, const StateDict& tensors);

// The first class that is called otherwise in the data set, but for case, spaces and signs; of
// lists of two lengths the shorter is looked at.
std::optional<std::size_t> first_other_class(const std::vector<std::string>& weights,
                                             const std::vector<std::string>& data);
// "class 1 is leaf, in the data set stem" of that one; "" where there is none.
std::string class_difference(const std::vector<std::string>& weights,
                             const std::vector<std::string>& data);
// Makes the names and colours of weights that name no classes the data set's. Throws InputError
// unless the weights' classes are as many as the data set's and, but for `any`, called the same.
void match_classes(ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind, bool any);

}  // namespace nextgrad
