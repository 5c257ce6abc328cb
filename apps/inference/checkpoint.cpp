#include "apps/inference/checkpoint.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "apps/inference/weights_metadata.h"
#include "data/files/text.h"
#include "data/images/palette.h"
#include "data/weights/train_state.h"
#include "models/published_names.h"
#include "nn/state_dict.h"

namespace nextgrad {
namespace {

// Names of classes as the file tells them, none if it does not; a colour for each class.
void read_classes(const WeightsFile& file, int classes, ModelInfo& info) {
  read_metadata(file, "classes", info.classes);
  read_metadata(file, "palette", info.palette);
  const bool ours = file.metadata.count("variant") > 0;
  const auto n = static_cast<std::size_t>(classes);
  if (ours && !info.classes.empty() && (info.classes.size() != n || info.palette.size() != n))
    fail_input(
        "{}: metadata names {} classes and {} colours, the classifier has {}; write the "
        "file again",
        file.path, info.classes.size(), info.palette.size(), classes);
  if (info.classes.size() != n) {
    info.classes.clear();
    info.palette.clear();
  }
  if (info.palette.size() != n) info.palette = make_palette(classes);
}

bool is_counter(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

std::unordered_set<std::string> names_of(const Module& model) {
  std::unordered_set<std::string> names;
  for (const Parameter& p : model.named_parameters()) names.insert(p.name);
  for (const Buffer& b : model.named_buffers()) names.insert(b.name);
  return names;
}

// What pretrained weights are copied into.
struct Target {
  Module& model;
  std::string head;        // prefix of all that is not the encoder: "decode_head."
  std::string classifier;  // prefix of the last layer: "decode_head.conv_seg."
};

struct Overlap {
  std::size_t wanted = 0, found = 0;  // of the encoder's tensors, by name and shape
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
    } else if (found != wanted.end() && !same && name == target.classifier + "weight") {
      o.classifier = fmt::format("file {}, model {}", tensor.shape().str(), found->second.str());
    }
  }
  return o;
}

// A file of pre-trained weights, its names adapted to the model.
struct Pretrained {
  WeightsFile file;
  StateDict tensors;
  std::vector<std::string> left_out;
  std::string prefix;
};

// Throws InputError if the file names classes, but not these.
void check_names(const Pretrained& source, const std::vector<std::string>& classes) {
  std::vector<std::string> told;
  read_metadata(source.file, "classes", told);
  if (told.size() != classes.size()) return;
  if (const auto difference = class_difference(told, classes); !difference.empty())
    fail_input(
        "{}: its classifier is of other classes: {}; add --reset-classifier to start the "
        "classifier anew",
        source.file.path, difference);
}

std::string load_into(const Target& target, Pretrained source, bool reset,
                      const std::vector<std::string>& classes) {
  const WeightsFile& file = source.file;
  const std::string& path = file.path;
  StateDict& adapted = source.tensors;
  std::vector<std::string>& left_out = source.left_out;
  const Overlap overlap = compare(target, adapted);
  const std::string variant = architecture_of(adapt_published_names(file.tensors)).variant;
  const std::string of = variant.empty() ? "" : fmt::format(" (the file is variant {})", variant);
  if (10 * overlap.found < 9 * overlap.wanted)
    fail_input(
        "{}: only {} of the encoder's {} tensors matched by name and shape{}; give weights "
        "of the model's variant",
        path, overlap.found, overlap.wanted, of);
  StateDict encoder = adapted;  // another decoder than the model's does no harm
  std::erase_if(encoder, [&](const NamedTensor& t) { return t.name.starts_with(target.head); });
  if (is_another_model(target.model, encoder))
    fail_input(
        "{}: its encoder is another one: it has tensors which the model has not{}; give weights "
        "of the model's variant",
        path, of);
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
  const StateDict wanted = wanted_by(target.model, adapted);
  const bool classifier = std::any_of(wanted.begin(), wanted.end(), [&](const NamedTensor& t) {
    return t.name.starts_with(target.classifier);
  });
  if (classifier) check_names(source, classes);
  check_usable(path, wanted);
  const LoadReport report = load_state_dict(target.model, adapted, false);
  std::string text = describe(file) +
                     fmt::format("; encoder: {} of {} matched\n", overlap.found, overlap.wanted) +
                     describe_prefix(source.prefix) + report.lines();
  if (!left_out.empty())
    text += fmt::format(
        "\nleft out: {}: {}{}", left_out.size(),
        fmt::join(left_out.begin(),
                  left_out.begin() + std::min<std::ptrdiff_t>(4, std::ssize(left_out)), ", "),
        left_out.size() > 4 ? ", ..." : "");
  return text;
}

}  // namespace

WeightsFile read_model_weights(const std::string& path) {
  WeightsFile file = read_weights(path);
  const auto format = file.metadata.find("format");
  if (format != file.metadata.end() && format->second.starts_with(kStateFormat))
    fail_input("{}: is a run's training state; give the best.safetensors beside it", file.path);
  return file;
}

std::string describe(const WeightsFile& file) {
  return fmt::format("{}: {}, {} tensors{}", printable(file.path), file.format, file.tensors.size(),
                     file.key.empty() ? "" : " under " + printable(file.key));
}

std::string describe_prefix(const std::string& taken) {
  return taken.empty() ? "" : fmt::format("prefix {} taken off the tensors' names\n", taken);
}

StateDict wanted_by(const Module& model, const StateDict& tensors) {
  const auto names = names_of(model);
  StateDict wanted;
  for (const NamedTensor& t : tensors)
    if (names.contains(t.name)) wanted.push_back(t);
  return wanted;
}

bool is_another_model(const Module& model, const StateDict& tensors) {
  const auto names = names_of(model);
  const auto part = [](const std::string& name) { return name.substr(0, name.find('.')); };
  std::unordered_set<std::string> parts;
  for (const std::string& name : names) parts.insert(part(name));
  // Single numbers are counters, a profiler's say.
  const auto surplus = std::count_if(tensors.begin(), tensors.end(), [&](const NamedTensor& t) {
    return t.value.numel() > 1 && !names.contains(t.name) && parts.contains(part(t.name));
  });
  return 10 * static_cast<std::size_t>(surplus) > names.size();
}

std::optional<std::size_t> first_other_class(const std::vector<std::string>& weights,
                                             const std::vector<std::string>& data) {
  const auto plain = [](const std::string& name) {
    std::string text;
    for (const char c : name)
      if ((c & 0x80) != 0 || std::isalnum(static_cast<unsigned char>(c)) != 0)
        text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text.empty() ? name : text;
  };
  for (std::size_t c = 0; c < std::min(weights.size(), data.size()); ++c)
    if (plain(weights[c]) != plain(data[c])) return c;
  return std::nullopt;
}

std::string class_difference(const std::vector<std::string>& weights,
                             const std::vector<std::string>& data) {
  const auto c = first_other_class(weights, data);
  if (!c) return "";
  return fmt::format("class {} is {}, in the data set {}", *c, in_quotes(weights[*c]),
                     in_quotes(data[*c]));
}

void save_weights(const std::string& path, const SegNeXt& model, const ModelInfo& info) {
  Metadata metadata = model_metadata(info.config.variant, info.classes, info.normalize);
  metadata["palette"] = nlohmann::json(info.palette).dump();
  write_safetensors(path, state_dict(model), metadata);
}

LoadedModel load_weights(const std::string& given, const std::string& variant,
                         const Placement& placement) {
  const Device device = Device::parse(placement.device);
  const WeightsFile file = read_model_weights(given);
  const std::string& path = file.path;
  std::string prefix;
  const StateDict adapted = adapt_published_names(file.tensors, nullptr, &prefix);
  const Architecture shapes = architecture_of(adapted);
  if (shapes.classes < 1 || shapes.classes > 255)
    fail_input("{}: no classifier decode_head.conv_seg.weight{}", path,
               shapes.variant.empty()
                   ? "; give weights of a whole SegNeXt"
                   : ", an encoder alone; train it first: segnext train --pretrained");
  LoadedModel loaded;
  const int classes = static_cast<int>(shapes.classes);
  const std::string chosen = choose_variant(file, variant, shapes.variant);
  read_classes(file, classes, loaded.info);
  read_normalize(file, loaded.info.normalize);
  loaded.info.config = segnext_config(chosen, classes);
  loaded.model = std::make_unique<SegNeXt>(loaded.info.config);
  fill_model(*loaded.model, file, adapted, chosen, prefix);
  loaded.model->to(device);
  set_precision(loaded.model->backbone(), device, placement.precision);
  return loaded;
}

std::string load_pretrained(SegNeXt& model, const std::string& path, bool reset_classifier,
                            const std::vector<std::string>& classes) {
  Pretrained source{read_model_weights(path), {}, {}, {}};
  source.tensors = adapt_published_names(source.file.tensors, &source.left_out, &source.prefix);
  return load_into({model, "decode_head.", "decode_head.conv_seg."}, std::move(source),
                   reset_classifier, classes);
}

std::string load_pretrained(MSCANClassifier& model, const std::string& path, bool reset_classifier,
                            const std::vector<std::string>& classes) {
  Pretrained source{read_model_weights(path), {}, {}, {}};
  source.tensors = adapt_encoder_names(source.file.tensors, &source.left_out, &source.prefix);
  return load_into({model, "head.", "head."}, std::move(source), reset_classifier, classes);
}

void match_classes(ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind, bool any) {
  if (info.config.num_classes != dataset.num_classes())
    fail_input("{}: predicts {} classes, data set {} has {}; choose the --data it was trained on",
               weights, info.config.num_classes, kind, dataset.num_classes());
  if (info.classes.empty()) {
    info.classes = dataset.classes();
    info.palette = dataset.palette();
  }
  const std::string difference = class_difference(info.classes, dataset.classes());
  if (!any && !difference.empty())
    fail_input(
        "{}: was trained on other classes: {}; choose the --data it was trained on, or add "
        "--any-classes if only the names differ",
        weights, difference);
}

}  // namespace nextgrad
