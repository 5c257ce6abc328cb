// segnext info: what a model costs, beside the paper's figures; or what a file of weights holds.
#include <algorithm>
#include <map>
#include <memory>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/inference/checkpoint.h"
#include "apps/report/progress.h"
#include "apps/report/tables.h"
#include "data/files/text.h"
#include "models/published_names.h"

namespace nextgrad {
namespace {

// What the shapes tell: "SegNeXt tiny, 19 classes".
std::string fits(const WeightsFile& file) {
  const Architecture a = architecture_of(adapt_published_names(file.tensors));
  if (a.variant.empty()) return "no variant known by its shapes";
  if (a.classes > 0)
    return fmt::format("{} {}, {} classes", family_of(model_config(a.variant, 1)), a.variant,
                       a.classes);
  for (const auto& [name, tensor] : file.tensors)
    if (name.ends_with("head.weight") && tensor.ndim() == 2)
      return fmt::format("the encoder of {}, with a classifier of {} classes", a.variant,
                         tensor.dim(0));
  return fmt::format("the encoder of {}", a.variant);
}

// In one line, as it is where that is plain.
std::string shortened(const std::string& text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= 32 && c < 127; });
  const std::string shown = plain ? text.substr(0, 80) : in_quotes(text);
  return text.size() > 80 ? fmt::format("{}... ({} bytes)", shown, text.size()) : shown;
}

void list_file(const std::string& path) {
  const WeightsFile file = read_weights(path);
  std::size_t width = 0;
  for (const auto& [name, tensor] : file.tensors) width = std::max(width, name.size());
  std::map<std::string, std::size_t> types;
  double numbers = 0, bytes = 0;
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    const auto& [name, tensor] = file.tensors[i];
    const ElementFormat& format = format_of(file.types[i]);
    fmt::print("{:<{}}  {:<4}  {}\n", name, width, format.name, tensor.shape().str());
    ++types[format.name];
    numbers += static_cast<double>(tensor.numel());
    bytes += static_cast<double>(tensor.numel()) * static_cast<double>(format.bytes);
  }
  std::string kinds;
  for (const auto& [type, count] : types) kinds += fmt::format(", {} {}", count, type);
  fmt::print("{}{}\n", describe(file), kinds);
  fmt::print("total: {} numbers in {}\n", format_count(numbers), format_bytes(bytes));
  fmt::print("fits: {}\n", fits(file));
  for (const std::string& what : unusable(file.tensors)) fmt::print("unusable: {}\n", what);
  if (!file.beside.empty()) fmt::print("beside the weights: {}\n", fmt::join(file.beside, ", "));
  for (const auto& [key, value] : file.metadata)
    fmt::print("metadata {}: {}\n", is_plain_name(key) ? key : in_quotes(key), shortened(value));
}

}  // namespace

void info_command(Command root) {
  struct Arguments {
    std::string file;
    ModelSettings model;
    std::map<std::string, std::string> given;
    int classes = 150;
    Size size{512, 512};
  };
  const Command app = root.subcommand(
      "info", "Parameters, multiply-adds and memory of a model; or what a file of weights holds",
      help::info);
  auto a = std::make_shared<Arguments>();
  const Option file =
      app.option("file", a->file, "a .pth or .safetensors file, to list its tensors instead");
  a->model.variant = "tiny";
  app.settings(settings_of(a->model), a->given);
  app.named("--variant").excludes(file);
  app.number("--classes", a->classes, 1, 255, "number of classes").excludes(file);
  app.size("--size", a->size, "input of one image, WIDTHxHEIGHT [512]");
  app.does([a] {
    if (!a->file.empty()) return list_file(a->file);
    if (a->size.height == 0) fail_input("--size: must not be 0");
    apply_options(a->given, settings_of(a->model));
    const ModelConfig config = model_config(a->model, a->classes);
    fmt::print("{}", cost_table(config, a->size.height, a->size.width));
  });
}

}  // namespace nextgrad
