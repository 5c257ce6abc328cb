#include "apps/training/train_task.h"

#include <algorithm>

#include "apps/training/class_task.h"
#include "data/files/file.h"
#include "tensor/threads.h"

namespace nextgrad {

using nlohmann::json;

void prepare_process(const RunConfig& config) {
  if (config.scale_min > config.scale_max)
    fail_input("--scale-min {} is above --scale-max {}; exchange them", config.scale_min,
               config.scale_max);
  Device::parse(config.device);  // refuses one that is not there
  set_num_threads(static_cast<int>(config.threads));
  set_max_pixels(config.largest_picture);
}

SegNeXtConfig model_config(const RunConfig& config, int classes) {
  SegNeXtConfig architecture = segnext_config(config.variant, classes);
  if (config.drop_path >= 0) architecture.encoder.drop_path = config.drop_path;
  architecture.encoder.recompute = config.recompute;
  return architecture;
}

void check_batch_norm(std::int64_t batch, const Size& crop) {
  if (batch < 2 && crop.height <= 32 && crop.width <= 32)
    fail_input(
        "--batch {} of {}x{} pixels: batch norm needs more than one value a channel in the "
        "last stage, a 32nd of that; choose a larger --batch or picture",
        batch, crop.width, crop.height);
}

namespace {

template <class Name>
json identify(const std::string& split, std::int64_t samples, const Name& name) {
  std::uint32_t listing = 0;
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::string text = name(i);  // with the zero that ends it: names do not run together
    listing = crc32_of(std::string_view(text.c_str(), text.size() + 1), listing);
  }
  return {{"name", split}, {"samples", samples}, {"listing", listing}};
}

}  // namespace

json identity_of(const std::string& split, const Dataset& dataset) {
  return identify(split, dataset.size(), [&](std::int64_t i) { return dataset.name(i); });
}

json identity_of(const std::string& split, const ClassDataset& dataset) {
  return identify(split, dataset.size(), [&](std::int64_t i) {
    return fmt::format("{} {}", dataset.load_label(i), dataset.name(i));
  });
}

std::string difference(const json& before, const json& now) {
  const json &was = before.at("classes"), &is = now.at("classes");
  for (std::size_t c = 0; c < std::min(was.size(), is.size()); ++c)
    if (was[c] != is[c])
      return fmt::format("class {} was {} and is {}", c, was[c].get<std::string>(),
                         is[c].get<std::string>());
  if (was.size() != is.size())
    return fmt::format("there were {} classes and are {}", was.size(), is.size());
  const json &old_splits = before.at("splits"), &splits = now.at("splits");
  if (old_splits.size() != splits.size()) return "there are other splits";
  for (std::size_t i = 0; i < splits.size(); ++i) {
    const json &a = old_splits.at(i), &b = splits.at(i);
    const std::string split = b.at("name");
    const std::int64_t had = a.at("samples"), has = b.at("samples");
    if (had != has) return fmt::format("the split {} had {} samples and has {}", split, had, has);
    if (a != b)
      return fmt::format("the split {} has samples of other names, or in another order", split);
  }
  return {};
}

}  // namespace nextgrad
