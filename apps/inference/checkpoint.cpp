#include "apps/inference/checkpoint.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "data/files/text.h"
#include "data/images/palette.h"
#include "data/weights/train_state.h"
#include "models/published_names.h"
#include "nn/state_dict.h"

namespace nextgrad {
namespace {

using nlohmann::json;

// What a model calls its parts.
struct Parts {
  std::string head;        // prefix of all that is not the encoder
  std::string classifier;  // prefix of the last layer
};
Parts parts_of(const Module& model) {
  const auto* segmenter = dynamic_cast<const Segmenter*>(&model);
  return segmenter != nullptr ? Parts{"decode_head.", segmenter->classifier()}
                              : Parts{"head.", "head."};
}
// How the names in a file become those of a kind of model.
using Adapt = StateDict (*)(const StateDict& file, std::vector<std::string>* left_out,
                            std::string* taken);

// A file of weights, its names adapted to a kind of model.
struct Source {
  WeightsFile file;
  StateDict tensors;
  std::vector<std::string> left_out;
  std::string told;  // lines for the user: what was taken off the names, what was not used
  Architecture shapes;

  Source(const std::string& path, Adapt adapt) : file(read_weights(path)) {
    const auto format = file.metadata.find("format");
    if (format != file.metadata.end() && format->second.starts_with(kStateFormat))
      fail_input("{}: is a run's training state; give the best.safetensors beside it", file.path);
    std::string prefix;
    tensors = adapt(file.tensors, &left_out, &prefix);
    if (!prefix.empty()) told = fmt::format("prefix {} taken off the tensors' names\n", prefix);
    shapes = architecture_of(adapt_published_names(file.tensors));
  }

  bool ours() const { return file.metadata.contains("variant"); }

  // The JSON value under a key, into `value`, if the key is there. Throws InputError if segnext has
  // written another; what another program means by it is left, and that is told.
  template <class T>
  void read(const char* key, T& value) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) return;
    try {
      check(found->second.size() < (8u << 20), "too long");
      value = json::parse(found->second).get<T>();
    } catch (const std::exception&) {
      if (ours())
        fail_input("{}: its metadata {} is damaged; write the file again with segnext", file.path,
                   key);
      told += fmt::format("its metadata {} is not as segnext writes it, and is not used\n", key);
    }
  }

  // The settings of the model that it is of.
  ModelSettings model(const std::string& variant) const {
    ModelSettings settings;
    const auto found = file.metadata.find("model");
    if (ours() && found != file.metadata.end())
      load_config_text(found->second, file.path + ": metadata model", settings_of(settings));
    settings.variant = variant;
    return settings;
  }

  // What the metadata tells of a model whose classifier has so many classes.
  ModelInfo info(int classes, const std::string& wanted_variant) {
    ModelInfo info;
    info.num_classes = classes;
    info.model = model(choose_variant(wanted_variant));
    read("classes", info.classes);
    read("palette", info.palette);
    if (ours()) read("size", info.size);
    read("mean", info.normalize.mean);
    read("std", info.normalize.deviation);
    for (const float d : info.normalize.deviation)
      if (!(d > 0)) fail_input("{}: its metadata std holds {}; write the file again", file.path, d);
    if (!info.classes.empty() && std::ssize(info.classes) != classes) {
      if (ours())
        fail_input("{}: metadata names {} classes, the classifier has {}; write the file again",
                   file.path, info.classes.size(), classes);
      told += fmt::format("its metadata names {} classes for a classifier of {}, and is not used\n",
                          info.classes.size(), classes);
      info.classes.clear();
    }
    return info;
  }

 private:
  // The variant that the metadata, the user (`wanted`, may be empty) and the shapes agree on.
  std::string choose_variant(const std::string& wanted) const {
    const std::string given = wanted.empty() ? "" : model_config(wanted, 1).variant;
    const std::string own = ours() ? file.metadata.at("variant") : shapes.variant;
    if (own.empty() && given.empty())
      fail_input("{}: its shapes are of no variant known; add --variant tiny (or another)",
                 file.path);
    if (!own.empty() && !given.empty() && own != given)
      fail_input("{}: holds variant {}, not {}; leave --variant out", file.path, own, given);
    return own.empty() ? given : own;
  }
};

// How the tensors of a file fit a model.
struct Fit {
  StateDict wanted;                    // those the model has a place for
  std::size_t encoder = 0, found = 0;  // the encoder's tensors; those in the file, by shape too
  std::string classifier;              // "file [150,256,1,1], model [3,256,1,1]" if they differ
  // The rest shows that the file, or its encoder, is of a larger model: many tensors (a tenth) in
  // the parts that the model has.
  bool another_model = false, another_encoder = false;
};

Fit fit_of(const Module& model, const StateDict& file) {
  const Parts parts = parts_of(model);
  const auto part = [](const std::string& name) { return name.substr(0, name.find('.')); };
  const auto of_encoder = [&](const std::string& name) {
    return !name.starts_with(parts.head) && !name.starts_with("auxiliary_head.");
  };
  std::unordered_map<std::string, Shape> places;
  std::unordered_set<std::string> own_parts;
  Fit fit;
  for (const Parameter& p : model.named_parameters())
    places[p.name] = torch_shape(p.value.shape(), p.layout);
  for (const Buffer& b : model.named_buffers()) places[b.name] = b.value->shape();
  for (const auto& [name, shape] : places) {
    own_parts.insert(part(name));
    fit.encoder += of_encoder(name) && shape.size() > 0;  // without counters: old files lack them
  }
  std::size_t surplus = 0, in_encoder = 0;
  for (const NamedTensor& t : file) {
    const auto place = places.find(t.name);
    if (place != places.end()) {
      const Shape &wanted = place->second, &given = t.value.shape();
      fit.wanted.push_back(t);
      fit.found += given == wanted && of_encoder(t.name) && wanted.size() > 0;
      if (!(given == wanted) && t.name == parts.classifier + "weight")
        fit.classifier = fmt::format("file {}, model {}", given.str(), wanted.str());
    } else if (t.value.numel() > 1 && own_parts.contains(part(t.name))) {
      ++surplus;  // single numbers are counters, a profiler's say
      in_encoder += of_encoder(t.name);
    }
  }
  fit.another_model = 10 * surplus > places.size();
  fit.another_encoder = 10 * in_encoder > places.size();
  return fit;
}

// Copies the tensors into the model, every one of which must be there, and says so on standard
// output. Throws InputError for weights of another model and for numbers that are not finite.
template <class Model>
Loaded<Model> fill(std::unique_ptr<Model> model, const Source& source, ModelInfo info,
                   Device device, const std::string& precision) {
  const auto report = load_state_dict(*model, source.tensors, false);
  const std::string& path = source.file.path;
  const Fit fit = fit_of(*model, source.tensors);
  if (!report.covers() || fit.another_model)
    fail_input("{}: weights of another model than {}: {}", path, info.model.variant,
               report.summary());
  check_usable(path, fit.wanted);
  fmt::print("{}, variant {}\n{}{}\n", describe(source.file), name_of(info.model), source.told,
             report.lines());
  model->eval();
  model->to(device);
  set_precision(model->encoder(), device, precision);
  return {std::move(model), std::move(info)};
}

// "class 1 is leaf, in the data set stem" of the first that is called otherwise; "" for none.
std::string class_difference(const std::vector<std::string>& weights,
                             const std::vector<std::string>& data) {
  const auto c = first_other_class(weights, data);
  if (!c) return "";
  return fmt::format("class {} is {}, in the data set {}", *c, in_quotes(weights[*c]),
                     in_quotes(data[*c]));
}

}  // namespace

std::string weights_line(const Module& model) {
  std::vector<Tensor> all;
  for (const Parameter& p : model.named_parameters()) all.push_back(p.value.value().contiguous());
  return fmt::format("weights of norm {}\n", all.front().backend().norm(all).item());
}

std::string describe(const WeightsFile& file) {
  return fmt::format("{}: {}, {} tensors{}", printable(file.path), file.format, file.tensors.size(),
                     file.key.empty() ? "" : " under " + printable(file.key));
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

void save_weights(const std::string& path, const Module& model, const ModelInfo& info) {
  Metadata metadata{
      {"format", "pt"},
      {"variant", info.model.variant},
      {"classes", json(info.classes).dump(-1, ' ', false, json::error_handler_t::replace)},
      {"mean", json(info.normalize.mean).dump()},
      {"std", json(info.normalize.deviation).dump()}};
  if (const std::string text = difference_text(info.model); !text.empty()) metadata["model"] = text;
  if (!info.palette.empty()) metadata["palette"] = json(info.palette).dump();
  if (info.size > 0) metadata["size"] = std::to_string(info.size);
  write_safetensors(path, state_dict(model), metadata);
}

LoadedModel load_weights(const std::string& path, const std::string& variant,
                         const Placement& placement) {
  const Device device = local_device(placement.device, world());
  Source source(path, adapt_published_names);
  const Architecture& shapes = source.shapes;
  if (shapes.classes < 1 || shapes.classes > 255)
    fail_input("{}: no decode_head with a classifier{}", source.file.path,
               shapes.variant.empty()
                   ? "; give weights of a whole model"
                   : ", an encoder alone; train it first: segnext train --pretrained");
  ModelInfo info = source.info(static_cast<int>(shapes.classes), variant);
  if (source.ours() && !info.classes.empty() && std::ssize(info.palette) != info.num_classes)
    fail_input("{}: metadata has {} colours for {} classes; write the file again", source.file.path,
               info.palette.size(), info.num_classes);
  if (info.classes.empty() || std::ssize(info.palette) != info.num_classes)
    info.palette = make_palette(info.num_classes);
  auto model = std::make_unique<Segmenter>(model_config(info.model, info.num_classes));
  return fill(std::move(model), source, std::move(info), device, placement.precision);
}

LoadedClassifier load_classifier(const std::string& path, const std::string& variant,
                                 const Placement& placement) {
  const Device device = local_device(placement.device, world());
  Source source(path, adapt_encoder_names);
  const auto head = std::find_if(source.tensors.begin(), source.tensors.end(),
                                 [](const NamedTensor& t) { return t.name == "head.weight"; });
  if (head == source.tensors.end() || head->value.ndim() != 2 || head->value.dim(0) > (1 << 20))
    fail_input("{}: no classifier head.weight; give weights of an encoder with its classifier",
               source.file.path);
  ModelInfo info = source.info(static_cast<int>(head->value.dim(0)), variant);
  if (source.ours() && info.size > 0 && info.classes.empty())
    fail_input("{}: its metadata names no classes; write the file again with segnext",
               source.file.path);
  if (info.size == 0) info.size = 224;  // as the published ones
  if (info.size < 32 || info.size > 16384)
    fail_input("{}: metadata names pictures of {} pixels; write the file again", source.file.path,
               info.size);
  const ModelConfig config = model_config(info.model, info.num_classes);
  auto model = std::make_unique<Classifier>(config.encoder, info.num_classes);
  return fill(std::move(model), source, std::move(info), device, placement.precision);
}

std::string load_pretrained(Module& model, const std::string& from, bool reset,
                            const std::vector<std::string>& classes) {
  const bool segments = dynamic_cast<const Segmenter*>(&model) != nullptr;
  const Parts parts = parts_of(model);
  Source source(from, segments ? adapt_published_names : adapt_encoder_names);
  const std::string& path = source.file.path;
  Fit fit = fit_of(model, source.tensors);
  const std::string& variant = source.shapes.variant;
  const std::string of =
      variant.empty() ? ""
                      : fmt::format(" (the file is variant {})", name_of(source.model(variant)));
  if (10 * fit.found < 9 * fit.encoder)
    fail_input(
        "{}: only {} of the encoder's {} tensors matched by name and shape{}; give weights "
        "of the model's variant",
        path, fit.found, fit.encoder, of);
  if (fit.another_encoder)  // another decoder than the model's does no harm
    fail_input(
        "{}: its encoder is another one: it has tensors which the model has not{}; give weights "
        "of the model's variant",
        path, of);
  if (!fit.classifier.empty() && !reset)
    fail_input(
        "{}: its classifier {}weight is of other classes ({}); add --reset-classifier to "
        "start the classifier anew",
        path, parts.classifier, fit.classifier);
  const auto of_classifier = [&](const NamedTensor& t) {
    return t.name.starts_with(parts.classifier);
  };
  std::vector<std::string>& left_out = source.left_out;
  for (const NamedTensor& t : source.tensors)
    if (reset && of_classifier(t)) left_out.push_back(t.name);
  if (reset)
    for (StateDict* tensors : {&source.tensors, &fit.wanted})
      std::erase_if(*tensors, of_classifier);
  std::vector<std::string> named;
  if (std::ranges::any_of(fit.wanted, of_classifier)) source.read("classes", named);
  const std::string difference = class_difference(named, classes);
  if (named.size() == classes.size() && !difference.empty())
    fail_input(
        "{}: its classifier is of other classes: {}; add --reset-classifier to start the "
        "classifier anew",
        path, difference);
  check_usable(path, fit.wanted);
  const LoadReport report = load_state_dict(model, source.tensors, false);
  std::string text = fmt::format("{}; encoder: {} of {} matched\n{}{}", describe(source.file),
                                 fit.found, fit.encoder, source.told, report.lines());
  const auto shown = left_out.begin() + std::min<std::ptrdiff_t>(4, std::ssize(left_out));
  if (!left_out.empty())
    text += fmt::format("\nleft out: {}: {}{}", left_out.size(),
                        fmt::join(left_out.begin(), shown, ", "),
                        shown == left_out.end() ? "" : ", ...");
  return text;
}

void match_classes(ModelInfo& info, const std::string& weights, const Dataset& dataset,
                   const std::string& kind, bool any) {
  if (info.num_classes != dataset.num_classes())
    fail_input("{}: predicts {} classes, data set {} has {}; choose the --data it was trained on",
               weights, info.num_classes, kind, dataset.num_classes());
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
