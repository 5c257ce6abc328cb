#include "apps/classifier_checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/checkpoint.h"
#include "data/weights_file.h"
#include "models/published_names.h"

namespace nextgrad {
namespace {

// What the metadata that save_classifier wrote says.
void read_metadata(const std::string& path, const Metadata& metadata, ClassifierInfo& info) {
  if (metadata.contains("variant")) info.variant = metadata.at("variant");
  if (!metadata.contains("size")) return;  // another program's
  try {
    const auto get = [&](const char* key) {
      check(metadata.at(key).size() < (8u << 20), "too long");
      return nlohmann::json::parse(metadata.at(key));
    };
    get("classes").get_to(info.classes);
    get("mean").get_to(info.normalize.mean);
    get("std").get_to(info.normalize.deviation);
    get("size").get_to(info.size);
  } catch (const std::exception&) {
    fail_input("{}: its metadata is damaged; write the file again with segnext pretrain", path);
  }
  if (info.classes.empty() || info.size < 32 || info.size > 16384)
    fail_input("{}: metadata names {} classes and pictures of {} pixels; write the file again",
               path, info.classes.size(), info.size);
}

}  // namespace

void save_classifier(const std::string& path, const MSCANClassifier& model,
                     const ClassifierInfo& info) {
  using nlohmann::json;
  write_safetensors(
      path, state_dict(model),
      {{"format", "pt"},
       {"variant", info.variant},
       {"classes", json(info.classes).dump(-1, ' ', false, json::error_handler_t::replace)},
       {"mean", json(info.normalize.mean).dump()},
       {"std", json(info.normalize.deviation).dump()},
       {"size", std::to_string(info.size)}});
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
  read_metadata(path, file.metadata, info);
  if (info.variant.empty())
    info.variant = architecture_of(adapt_published_names(file.tensors)).variant;
  const std::string given = variant.empty() ? info.variant : segnext_config(variant, 1).variant;
  if (given.empty())
    fail_input("{}: its shapes are of no variant known; add --variant tiny (or another)", path);
  if (!info.variant.empty() && given != info.variant)
    fail_input("{}: holds variant {}, not {}; leave --variant out", path, info.variant, given);
  info.variant = given;
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
  const auto report = load_state_dict(*loaded.model, tensors, false);
  if (!report.covers() || is_another_model(*loaded.model, tensors))
    fail_input("{}: weights of another encoder than {}: {}", path, info.variant, report.summary());
  check_usable(path, wanted_by(*loaded.model, tensors));
  fmt::print("{}, variant {}\n{}{}\n", describe(file), info.variant, describe_prefix(prefix),
             report.lines());
  loaded.model->eval();
  loaded.model->to(device);
  set_precision(*loaded.model, device, placement.precision);
  return loaded;
}

}  // namespace nextgrad
