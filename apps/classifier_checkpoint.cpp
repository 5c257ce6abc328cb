#include "apps/classifier_checkpoint.h"

#include <nlohmann/json.hpp>

#include "data/safetensors.h"
#include "models/published_names.h"
#include "models/segnext.h"

namespace nextgrad {
namespace {

constexpr std::string_view kBackbone = "backbone.", kHead = "head.";

// The encoder's tensors, whatever lies beside them, and a classifier of whole pictures.
StateDict classifier_tensors(const StateDict& file) {
  StateDict tensors;
  for (NamedTensor& t : adapt_published_names(file))
    if (t.name.starts_with(kBackbone))
      tensors.push_back({t.name.substr(kBackbone.size()), std::move(t.value)});
  for (const NamedTensor& t : file)
    if (t.name.starts_with(kHead)) tensors.push_back(t);
  return tensors;
}

const Tensor* find(const StateDict& tensors, const std::string& name) {
  for (const auto& t : tensors)
    if (t.name == name) return &t.value;
  return nullptr;
}

// What the metadata that save_classifier wrote says.
void read_metadata(const std::string& path, const Metadata& metadata, ClassifierInfo& info) {
  if (metadata.contains("variant")) info.variant = metadata.at("variant");
  if (!metadata.contains("size")) return;  // another program's
  try {
    const auto get = [&](const char* key) { return nlohmann::json::parse(metadata.at(key)); };
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
  write_safetensors(path, state_dict(model),
                    {{"format", "pt"},
                     {"variant", info.variant},
                     {"classes", json(info.classes).dump()},
                     {"mean", json(info.normalize.mean).dump()},
                     {"std", json(info.normalize.deviation).dump()},
                     {"size", std::to_string(info.size)}});
}

LoadedClassifier load_classifier(const std::string& path, const std::string& variant,
                                 Device device) {
  const SafeTensors file = read_safetensors(path);
  const StateDict tensors = classifier_tensors(file.tensors);
  LoadedClassifier loaded;
  read_metadata(path, file.metadata, loaded.info);
  if (!loaded.info.variant.empty() && !variant.empty() && variant != loaded.info.variant)
    fail_input("{}: holds variant {}, not {}; leave --variant out", path, loaded.info.variant,
               variant);
  if (loaded.info.variant.empty()) loaded.info.variant = variant;
  if (loaded.info.variant.empty())
    fail_input("{}: does not say which variant it is; add --variant tiny (or another)", path);
  const Tensor* head = find(tensors, "head.weight");
  if (head == nullptr || head->ndim() != 2 || head->dim(0) > (1 << 20))
    fail_input("{}: no classifier head.weight; give weights of an encoder with its classifier",
               path);
  loaded.classes = static_cast<int>(head->dim(0));
  const auto named = loaded.info.classes.size();
  if (named != 0 && named != static_cast<std::size_t>(loaded.classes))
    fail_input("{}: names {} classes for a classifier of {}; write the file again", path, named,
               loaded.classes);
  loaded.model = std::make_unique<MSCANClassifier>(
      segnext_config(loaded.info.variant, loaded.classes).encoder, loaded.classes);
  const auto report = load_state_dict(*loaded.model, tensors, false);
  if (!report.complete())
    fail_input("{}: weights of another encoder than {}: {}", path, loaded.info.variant,
               report.summary());
  loaded.model->eval();
  loaded.model->to(device);
  return loaded;
}

std::string start_classifier(MSCANClassifier& model, const std::string& path,
                             bool reset_classifier) {
  StateDict tensors = classifier_tensors(read_safetensors(path).tensors);
  const auto is_head = [](const NamedTensor& t) { return t.name.starts_with(kHead); };
  const auto is_counter = [](const std::string& name) {
    return name.find("num_batches_tracked") != std::string::npos;
  };
  const StateDict own = state_dict(model);
  std::size_t wanted = 0, found = 0;
  for (const NamedTensor& t : own) {
    const Tensor* theirs = find(tensors, t.name);
    const bool fits = theirs != nullptr && theirs->shape() == t.value.shape();
    if (is_head(t) && theirs != nullptr && !fits && !reset_classifier)
      fail_input(
          "{}: its {} is {}, this data set's classes want {}; add --reset-classifier to begin "
          "with a new classifier",
          path, t.name, theirs->shape().str(), t.value.shape().str());
    if (is_head(t) || is_counter(t.name)) continue;
    ++wanted;
    found += fits;
  }
  if (10 * found < 9 * wanted)
    fail_input(
        "{}: {} of the encoder's {} tensors matched by name and shape; give weights of the "
        "run's --variant",
        path, found, wanted);
  if (reset_classifier) std::erase_if(tensors, is_head);
  const auto report = load_state_dict(model, tensors, false);
  return fmt::format("{}: encoder {} of {} tensors; {}", path, found, wanted, report.summary());
}

}  // namespace nextgrad
