// Weights of an encoder with its classifier: the published ImageNet files' names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/transforms.h"
#include "models/classifier.h"

namespace nextgrad {

struct ClassifierInfo {
  std::string variant;
  std::vector<std::string> classes;  // empty: the file does not say
  Normalize normalize;
  std::int64_t size = 224;  // pixels a side it was trained at
};

// A .safetensors file: the encoder's tensors without prefix, head.weight and head.bias; metadata:
// variant, classes, mean, std, size.
void save_classifier(const std::string& path, const MSCANClassifier& model,
                     const ClassifierInfo& info);

struct LoadedClassifier {
  std::unique_ptr<MSCANClassifier> model;  // evaluation mode
  ClassifierInfo info;
  int classes = 0;
};
// Opens weights written by `segnext pretrain`, or published ones if `variant` names their encoder
// (the number of classes is then the classifier's). Throws InputError unless every tensor matches.
LoadedClassifier load_classifier(const std::string& path, const std::string& variant,
                                 Device device);

// Copies what fits into the model to go on from, returns what matched. Throws InputError when fewer
// than nine tenths of the encoder did, and for a classifier of other classes unless
// `reset_classifier`: that leaves the model's own as it is.
std::string start_classifier(MSCANClassifier& model, const std::string& path,
                             bool reset_classifier);

}  // namespace nextgrad
