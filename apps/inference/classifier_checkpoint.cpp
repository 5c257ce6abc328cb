#include "apps/inference/classifier_checkpoint.h"

#include <algorithm>

#include "apps/inference/checkpoint.h"
#include "apps/inference/weights_metadata.h"
#include "data/weights/weights_file.h"
#include "models/published_names.h"

namespace nextgrad {
void save_classifier(const std::string& path, const MSCANClassifier& model,
                     const ClassifierInfo& info) {
  Metadata metadata = model_metadata(info.variant, info.classes, info.normalize);
  metadata["size"] = std::to_string(info.size);
  write_safetensors(path, state_dict(model), metadata);
}

LoadedClassifier load_classifier(const std::string& from, const std::string& variant,
                                 const Placement& placement) {
  const Device device = Device::parse(placement.device);
  const WeightsFile file = read_model_weights(from);
  const std::string& path = file.path;
  std::string prefix;
  const StateDict tensors = adapt_encoder_names(file.tensors, nullptr, &prefix);
  LoadedClassifier loaded;
  ClassifierInfo& info = loaded.info;
  info.variant =
      choose_variant(file, variant, architecture_of(adapt_published_names(file.tensors)).variant);
  if (file.metadata.contains("size")) {  // else another program's
    read_metadata(file, "classes", info.classes);
    read_metadata(file, "size", info.size);
    read_normalize(file, info.normalize);
    if (info.classes.empty() || info.size < 32 || info.size > 16384)
      fail_input("{}: metadata names {} classes and pictures of {} pixels; write the file again",
                 path, info.classes.size(), info.size);
  }
  const auto head = std::find_if(tensors.begin(), tensors.end(),
                                 [](const NamedTensor& t) { return t.name == "head.weight"; });
  if (head == tensors.end() || head->value.ndim() != 2 || head->value.dim(0) > (1 << 20))
    fail_input("{}: no classifier head.weight; give weights of an encoder with its classifier",
               path);
  loaded.classes = static_cast<int>(head->value.dim(0));
  if (!info.classes.empty() && std::ssize(info.classes) != loaded.classes)
    fail_input("{}: names {} classes for a classifier of {}; write the file again", path,
               info.classes.size(), loaded.classes);
  loaded.model = std::make_unique<MSCANClassifier>(
      segnext_config(info.variant, loaded.classes).encoder, loaded.classes);
  fill_model(*loaded.model, file, tensors, info.variant, prefix);
  loaded.model->to(device);
  set_precision(*loaded.model, device, placement.precision);
  return loaded;
}

}  // namespace nextgrad
