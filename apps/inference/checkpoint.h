// Weights of a model as a file in PyTorch's names and layout, with what one must know to use them:
// written as .safetensors; read as that or as PyTorch's .pth, whichever the content is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/settings/model_settings.h"
#include "apps/settings/precision.h"
#include "data/augment/transforms.h"
#include "data/datasets/dataset.h"
#include "data/weights/weights_file.h"
#include "models/classifier.h"
#include "models/segmenter.h"

namespace nextgrad {

struct ModelInfo {
  ModelSettings model;
  std::vector<std::string> classes;  // empty: the file does not say
  Palette palette;                   // one colour a class; of a classifier of pictures none
  std::int64_t size = 0;  // of a classifier of pictures: pixels a side it was trained at; else 0
  Normalize normalize;
  int num_classes = 0;  // of the last layer; set when weights are loaded
};

// Metadata of the file: variant, model (what differs from the variant, as TOML), classes (JSON
// array of names), mean, std, and palette or size. The encoder's tensors of a Classifier come
// without prefix, then head.weight and head.bias.
void save_weights(const std::string& path, const Module& model, const ModelInfo& info);

template <class Model>
struct Loaded {
  std::unique_ptr<Model> model;  // evaluation mode
  ModelInfo info;
};
using LoadedModel = Loaded<Segmenter>;
using LoadedClassifier = Loaded<Classifier>;
// Opens weights written by `segnext train`, or published ones. What they do not say themselves is
// read from the shapes (variant, number of classes) or from `variant`; class names of others'
// metadata are used if there are as many as classes. Prints which tensors matched, what prefix was
// taken off their names, which more there are, and what of the metadata was not used. Throws
// InputError for another file, unless every tensor of the model is there, and for numbers that are
// not finite.
LoadedModel load_weights(const std::string& path, const std::string& variant,
                         const Placement& placement);
// The same of weights of an encoder with its classifier, which `segnext pretrain` writes.
LoadedClassifier load_classifier(const std::string& path, const std::string& variant,
                                 const Placement& placement);

// Copies what fits from a file of weights into a Segmenter or a Classifier: an ImageNet encoder
// (whose classifier is left out), or a whole model. Returns lines that say what matched, what is
// missing, unexpected and mis-shaped. Throws InputError, with nothing copied, when fewer than nine
// tenths of the encoder's tensors match, when the file's encoder is a larger one, for numbers that
// are not finite, and for a classifier of other classes (another number; other names than
// `classes`, if both are told) unless `reset_classifier` (which leaves the file's classifier out).
std::string load_pretrained(Module& model, const std::string& path, bool reset_classifier = false,
                            const std::vector<std::string>& classes = {});

// A line that tells a model's weights from others: what ranks must share (same.h).
std::string weights_line(const Module& model);

// "x.pth: PyTorch zip, 347 tensors under state_dict".
std::string describe(const WeightsFile& file);

// The first class that is called otherwise in the data set, but for case, spaces and signs; of
// lists of two lengths the shorter is looked at.
std::optional<std::size_t> first_other_class(const std::vector<std::string>& weights,
                                             const std::vector<std::string>& data);
// Makes the names and colours of weights that name no classes the data set's. Throws InputError
// unless the weights' classes are as many as the data set's and, but for `any`, called the same.
void match_classes(ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind, bool any);

}  // namespace nextgrad
