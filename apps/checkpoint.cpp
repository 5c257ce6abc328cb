#include "apps/checkpoint.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "data/palette.h"
#include "models/published_names.h"
#include "nn/state_dict.h"

namespace nextgrad {
namespace {

// The JSON value under a key, into `value`, if the key is there.
template <class T>
void read_json(const std::string& path, const Metadata& metadata, const char* key, T& value) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return;
  try {
    nlohmann::json::parse(found->second).get_to(value);
  } catch (const std::exception&) {
    fail_input("{}: its metadata {} is damaged; write the file again with segnext train", path,
               key);
  }
}

// Names of classes as the file tells them, "class 0" and so on if it does not.
void read_classes(const std::string& path, const Metadata& metadata, int classes, ModelInfo& info) {
  read_json(path, metadata, "classes", info.classes);
  read_json(path, metadata, "palette", info.palette);
  const bool ours = metadata.count("variant") > 0;
  const auto n = static_cast<std::size_t>(classes);
  if (ours && !info.classes.empty() && (info.classes.size() != n || info.palette.size() != n))
    fail_input(
        "{}: metadata names {} classes and {} colours, the classifier has {}; write the "
        "file again",
        path, info.classes.size(), info.palette.size(), classes);
  if (info.classes.size() != n) {
    info.classes.clear();
    for (int c = 0; c < classes; ++c) info.classes.push_back(fmt::format("class {}", c));
    info.palette.clear();
  }
  if (info.palette.size() != n) info.palette = make_palette(classes);
}

// The variant that the metadata, the user and the shapes agree on.
std::string choose_variant(const std::string& path, const Metadata& metadata,
                           const std::string& wanted, const Architecture& shapes) {
  const auto known = metadata.find("variant");
  const std::string given = wanted.empty() ? "" : segnext_config(wanted, 1).variant;
  const std::string told = known != metadata.end() ? known->second : shapes.variant;
  if (told.empty() && given.empty())
    fail_input("{}: its shapes are of no variant known; add --variant tiny (or another)", path);
  if (!told.empty() && !given.empty() && told != given)
    fail_input("{}: holds variant {}, not {}; leave --variant out", path, told, given);
  return told.empty() ? given : told;
}

bool is_counter(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

// What pretrained weights are copied into.
struct Target {
  Module& model;
  std::string head;        // prefix of all that is not the encoder: "decode_head."
  std::string classifier;  // prefix of the last layer: "decode_head.conv_seg."
};

struct Overlap {
  std::size_t wanted = 0, found = 0;  // of the encoder's tensors, by name and shape
  std::size_t surplus = 0;            // encoder tensors of the file that the model has not
  std::string classifier;             // "file [150,256,1,1], model [3,256,1,1]" if they differ
};

Overlap compare(const Target& target, const StateDict& file) {
  std::unordered_map<std::string, Shape> wanted;
  for (const auto& [name, tensor] : state_dict(target.model)) wanted[name] = tensor.shape();
  Overlap o;
  const auto encoder = [&](const std::string& name) {
    return !name.starts_with(target.head) && !is_counter(name);
  };
  for (const auto& [name, shape] : wanted) o.wanted += encoder(name);
  for (const auto& [name, tensor] : file) {
    const auto found = wanted.find(name);
    const bool same = found != wanted.end() && found->second == tensor.shape();
    if (encoder(name)) {
      o.found += same;
      o.surplus += found == wanted.end();
    } else if (found != wanted.end() && !same && name == target.classifier + "weight") {
      o.classifier = fmt::format("file {}, model {}", tensor.shape().str(), found->second.str());
    }
  }
  return o;
}

std::string load_into(const Target& target, const std::string& path, const WeightsFile& file,
                      StateDict adapted, std::vector<std::string> left_out, bool reset) {
  const Overlap overlap = compare(target, adapted);
  const std::string variant = architecture_of(adapt_published_names(file.tensors)).variant;
  const std::string of = variant.empty() ? "" : fmt::format(" (the file is variant {})", variant);
  if (10 * overlap.found < 9 * overlap.wanted)
    fail_input(
        "{}: only {} of the encoder's {} tensors matched by name and shape{}; give weights "
        "of the model's variant",
        path, overlap.found, overlap.wanted, of);
  if (10 * overlap.surplus > overlap.wanted)
    fail_input(
        "{}: its encoder is another one: {} of its tensors the model has not{}; give "
        "weights of the model's variant",
        path, overlap.surplus, of);
  if (!overlap.classifier.empty() && !reset)
    fail_input(
        "{}: its classifier {}weight is of other classes ({}); add --reset-classifier to "
        "start the classifier anew",
        path, target.classifier, overlap.classifier);
  if (reset)
    std::erase_if(adapted, [&](const NamedTensor& t) {
      const bool classifier = t.name.starts_with(target.classifier);
      if (classifier) left_out.push_back(t.name);
      return classifier;
    });
  const LoadReport report = load_state_dict(target.model, adapted, false);
  std::string text = describe(path, file) +
                     fmt::format("; encoder: {} of {} matched\n", overlap.found, overlap.wanted) +
                     report.lines();
  if (!left_out.empty())
    text += fmt::format(
        "\nleft out: {}: {}{}", left_out.size(),
        fmt::join(left_out.begin(),
                  left_out.begin() + std::min<std::ptrdiff_t>(4, std::ssize(left_out)), ", "),
        left_out.size() > 4 ? ", ..." : "");
  return text;
}

}  // namespace

std::string describe(const std::string& path, const WeightsFile& file) {
  return fmt::format("{}: {}, {} tensors{}", path, file.format, file.tensors.size(),
                     file.key.empty() ? "" : " under " + file.key);
}

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

LoadedModel load_weights(const std::string& path, const std::string& variant,
                         const Placement& placement) {
  const Device device = Device::parse(placement.device);
  const WeightsFile file = read_weights(path);
  const StateDict adapted = adapt_published_names(file.tensors);
  const Architecture shapes = architecture_of(adapted);
  if (shapes.classes < 1 || shapes.classes > 255)
    fail_input("{}: no classifier decode_head.conv_seg.weight{}", path,
               shapes.variant.empty()
                   ? "; give weights of a whole SegNeXt"
                   : ", an encoder alone; train it first: segnext train --pretrained");
  LoadedModel loaded;
  const int classes = static_cast<int>(shapes.classes);
  const std::string chosen = choose_variant(path, file.metadata, variant, shapes);
  read_classes(path, file.metadata, classes, loaded.info);
  read_json(path, file.metadata, "mean", loaded.info.normalize.mean);
  read_json(path, file.metadata, "std", loaded.info.normalize.deviation);
  for (const float d : loaded.info.normalize.deviation)
    if (!(d > 0)) fail_input("{}: its metadata std holds {}; write the file again", path, d);
  loaded.info.config = segnext_config(chosen, classes);
  loaded.model = std::make_unique<SegNeXt>(loaded.info.config);
  const auto report = load_state_dict(*loaded.model, adapted, false);
  if (!report.complete())
    fail_input("{}: weights of another model than {}: {}", path, chosen, report.summary());
  fmt::print("{}, variant {}\n{}\n", describe(path, file), chosen, report.lines());
  loaded.model->eval();
  loaded.model->to(device);
  set_precision(loaded.model->backbone(), device, placement.precision);
  return loaded;
}

std::string load_pretrained(SegNeXt& model, const std::string& path, bool reset_classifier) {
  const WeightsFile file = read_weights(path);
  std::vector<std::string> left_out;
  StateDict adapted = adapt_published_names(file.tensors, &left_out);
  return load_into({model, "decode_head.", "decode_head.conv_seg."}, path, file, std::move(adapted),
                   std::move(left_out), reset_classifier);
}

std::string load_pretrained(MSCANClassifier& model, const std::string& path,
                            bool reset_classifier) {
  const WeightsFile file = read_weights(path);
  std::vector<std::string> left_out;
  StateDict adapted = adapt_encoder_names(file.tensors, &left_out);
  return load_into({model, "head.", "head."}, path, file, std::move(adapted), std::move(left_out),
                   reset_classifier);
}

void check_classes(const ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind) {
  if (static_cast<int>(info.classes.size()) != dataset.num_classes())
    fail_input("{}: predicts {} classes, data set {} has {}; choose the --data it was trained on",
               weights, info.classes.size(), kind, dataset.num_classes());
}

}  // namespace nextgrad
