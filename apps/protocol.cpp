#include "apps/protocol.h"

#include <algorithm>
#include <filesystem>

#include "apps/commands.h"
#include "apps/presets.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// The smallest side the network takes.
constexpr std::int64_t kLeast = 32;

void check_window(const Protocol& p, const std::string& window, const std::string& stride) {
  if (p.window.height == 0 && p.stride.height > 0)
    fail_input("{} needs {}: the size of the sliding window", stride, window);
  if (p.stride.height > p.window.height || p.stride.width > p.window.width)
    fail_input("{} {} is above {} {}: pixels between the windows would have no class; lower it",
               stride, p.stride.str(), window, p.window.str());
}

// Three quarters of the window where no stride is given: 768 for 1024, as published.
void fill_stride(Protocol& p) {
  if (p.stride.height == 0) p.stride = {p.window.height * 3 / 4, p.window.width * 3 / 4};
}

EvalTransform transform_of(const Size& size, const Size& base, std::int64_t multiple,
                           const Normalize& normalize) {
  EvalTransform t;
  t.height = size.height;
  t.width = size.width;
  t.base_short = std::min(base.height, base.width);
  t.base_long = std::max(base.height, base.width);
  t.multiple = multiple;
  t.least = kLeast;
  t.normalize = normalize;
  return t;
}

}  // namespace

void add_protocol(CLI::App& app, ProtocolOptions& o) {
  app.add_option("--preset", o.preset,
                 "test protocol of a recipe, such as cityscapes-tiny (segnext preset list)");
  add_size(
      app, "--size", o.size,
      "resize images to WIDTHxHEIGHT for the network; 0 (default) = by --base-size and --multiple");
  add_size(app, "--base-size", o.base_size,
           "fit images into WIDTHxHEIGHT, keeping their ratio; 0 (default) = as they are");
  app.add_option("--multiple", o.multiple, "then up to multiples of this; 0 = 32, with --window 1")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  add_size(app, "--window", o.window,
           "sliding window of WIDTHxHEIGHT: large images in bounded memory; 0 (default) = whole");
  add_size(app, "--stride", o.stride, "steps of the window; 0 (default) = three quarters of it");
  app.add_option("--scales", o.scales, "test at these scales: 0.75,1,1.25")
      ->delimiter(',')
      ->check(CLI::Range(0.1, 8.0))
      ->take_all();
  app.add_flag("--flip", o.flip, "each scale mirrored too; probabilities are averaged");
  app.add_flag("--multi-scale", o.multi_scale,
               "the paper's multi-scale test: 0.5 to 1.75 by 0.25, each mirrored too");
  app.add_option("--batch", o.batch, "windows that go through the network together")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--workers", o.workers, "images prepared ahead, by threads of their own")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
}

Protocol protocol_of(const CLI::App& app, const ProtocolOptions& given,
                     const Normalize& normalize) {
  ProtocolOptions o = given;
  if (!o.preset.empty()) {
    const TrainConfig preset = preset_config(o.preset);
    const auto take = [&](const char* option, auto& value, const auto& from) {
      if (app.count(option) == 0) value = from;
    };
    take("--size", o.size, preset.val_size);
    take("--base-size", o.base_size, preset.base_size);
    take("--multiple", o.multiple, preset.val_multiple);
    take("--window", o.window, preset.val_window);
    take("--stride", o.stride, app.count("--window") > 0 ? Size{} : preset.val_stride);
  }
  if (o.multi_scale && !o.scales.empty())
    fail_input("--multi-scale and --scales: give one of the two");
  Protocol p;
  p.window = o.window;
  p.stride = o.stride;
  check_window(p, "--window", "--stride");
  fill_stride(p);
  const std::int64_t multiple = o.multiple > 0 ? o.multiple : p.window.height > 0 ? 1 : 32;
  p.transform = transform_of(o.size, o.base_size, multiple, normalize);
  if (o.multi_scale) o.scales = {0.5, 0.75, 1.0, 1.25, 1.5, 1.75};
  if (!o.scales.empty()) p.scales = o.scales;
  p.flip = o.flip || o.multi_scale;
  p.batch = o.batch;
  return p;
}

void use_preset_data(const CLI::App& app, const std::string& preset, DatasetConfig& data) {
  if (preset.empty()) return;
  const bool folder = app.count("--data") > 0 && std::filesystem::is_directory(data.kind);
  if (folder) data.root = data.kind;
  if (folder || app.count("--data") == 0) data.kind = preset_config(preset).data;
}

Protocol val_protocol(const TrainConfig& c) {
  Protocol p;
  p.window_option = "--val-window";
  p.window = c.val_window;
  p.stride = c.val_stride;
  check_window(p, "--val-window", "--val-stride");
  fill_stride(p);
  p.transform = transform_of(c.val_size, c.base_size, c.val_multiple, {});
  return p;
}

}  // namespace nextgrad
