#include "apps/checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/palette.h"
#include "data/safetensors.h"
#include "models/published_names.h"
#include "nn/state_dict.h"

namespace nextgrad {
namespace {

constexpr const char* kClassifier = "decode_head.conv_seg.weight";

// Fills `info` from the metadata `segnext train` wrote.
void read_metadata(const std::string& path, const Metadata& metadata, ModelInfo& info) {
  try {
    const auto get = [&](const char* key) { return nlohmann::json::parse(metadata.at(key)); };
    get("classes").get_to(info.classes);
    get("palette").get_to(info.palette);
    get("mean").get_to(info.normalize.mean);
    get("std").get_to(info.normalize.deviation);
  } catch (const std::exception&) {
    fail_input("{}: its metadata is damaged; write the file again with segnext train", path);
  }
  if (info.classes.empty() || info.classes.size() > 255 ||
      info.palette.size() != info.classes.size())
    fail_input("{}: metadata names {} classes and {} colours; write the file again", path,
               info.classes.size(), info.palette.size());
}

// For weights without metadata: the number of classes is the classifier's.
void infer_classes(const std::string& path, const SafeTensors& file, ModelInfo& info) {
  const Tensor* classifier = file.find(kClassifier);
  if (classifier == nullptr || classifier->ndim() != 4 || classifier->dim(0) > 255)
    fail_input("{}: no classifier {}; give weights of a whole SegNeXt", path, kClassifier);
  const int classes = static_cast<int>(classifier->dim(0));
  for (int c = 0; c < classes; ++c) info.classes.push_back(fmt::format("class {}", c));
  info.palette = make_palette(classes);
}

}  // namespace

void save_weights(const std::string& path, const SegNeXt& model, const ModelInfo& info) {
  using nlohmann::json;
  write_safetensors(path, state_dict(model),
                    {{"format", "pt"},
                     {"variant", info.config.variant},
                     {"classes", json(info.classes).dump()},
                     {"palette", json(info.palette).dump()},
                     {"mean", json(info.normalize.mean).dump()},
                     {"std", json(info.normalize.deviation).dump()}});
}

LoadedModel load_weights(const std::string& path, const std::string& variant, Device device) {
  const SafeTensors file = read_safetensors(path);
  const auto known = file.metadata.find("variant");
  if (known == file.metadata.end() && variant.empty())
    fail_input("{}: does not say which variant it is; add --variant tiny (or another)", path);
  if (known != file.metadata.end() && !variant.empty() && known->second != variant)
    fail_input("{}: holds variant {}, not {}; leave --variant out", path, known->second, variant);
  LoadedModel loaded;
  if (file.metadata.count("classes") > 0)
    read_metadata(path, file.metadata, loaded.info);
  else
    infer_classes(path, file, loaded.info);
  loaded.info.config = segnext_config(known != file.metadata.end() ? known->second : variant,
                                      static_cast<int>(loaded.info.classes.size()));
  loaded.model = std::make_unique<SegNeXt>(loaded.info.config);
  const auto report = load_state_dict(*loaded.model, adapt_published_names(file.tensors), false);
  if (!report.complete())
    fail_input("{}: weights of another model than {}: {}", path, loaded.info.config.variant,
               report.summary());
  loaded.model->eval();
  loaded.model->to(device);
  return loaded;
}

std::string load_pretrained(SegNeXt& model, const std::string& path) {
  const auto adapted = adapt_published_names(read_safetensors(path).tensors);
  const auto is_encoder = [](const std::string& name) {
    return name.rfind("backbone.", 0) == 0 && name.find("num_batches_tracked") == std::string::npos;
  };
  // Counted on names and shapes before anything is copied.
  std::size_t wanted = 0, found = 0;
  for (const auto& [name, tensor] : state_dict(model)) {
    if (!is_encoder(name)) continue;
    ++wanted;
    for (const auto& [file_name, file_tensor] : adapted)
      if (file_name == name && file_tensor.shape() == tensor.shape()) {
        ++found;
        break;
      }
  }
  if (10 * found < 9 * wanted)
    fail_input(
        "{}: {} of the encoder's {} tensors matched by name and shape; give weights of variant {}",
        path, found, wanted, model.config().variant);
  const auto report = load_state_dict(model, adapted, false);
  return fmt::format("{}: encoder {} of {} tensors; {}", path, found, wanted, report.summary());
}

void check_classes(const ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind) {
  if (static_cast<int>(info.classes.size()) != dataset.num_classes())
    fail_input("{}: predicts {} classes, data set {} has {}; choose the --data it was trained on",
               weights, info.classes.size(), kind, dataset.num_classes());
}

}  // namespace nextgrad
