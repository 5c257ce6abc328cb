// Weights of an encoder with its classifier: the published ImageNet files' names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/settings/precision.h"
#include "data/augment/transforms.h"
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
// Opens weights written by `segnext pretrain`, or published ones (.pth too): the number of classes
// is then the classifier's, the variant that of the shapes, unless `variant` says it. Prints and
// throws as load_weights does.
LoadedClassifier load_classifier(const std::string& path, const std::string& variant,
                                 const Placement& placement);

}  // namespace nextgrad
