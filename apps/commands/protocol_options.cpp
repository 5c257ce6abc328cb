#include "apps/commands/protocol_options.h"

#include <filesystem>

#include "apps/commands/commands.h"
#include "apps/settings/presets.h"
#include "tensor/error.h"

namespace nextgrad {

void add_protocol(Command app, ProtocolOptions& o) {
  app.option("--preset", o.preset,
             "test protocol of a recipe, such as cityscapes-tiny (segnext preset list)");
  app.size(
      "--size", o.size,
      "resize images to WIDTHxHEIGHT for the network; 0 (default) = by --base-size and --multiple");
  app.size("--base-size", o.base_size,
           "fit images into WIDTHxHEIGHT, keeping their ratio; 0 (default) = as they are");
  app.number("--multiple", o.multiple, 0, 1024,
             "then up to multiples of this; 0 = 32, with --window 1");
  app.size("--window", o.window,
           "sliding window of WIDTHxHEIGHT: large images in bounded memory; 0 (default) = whole");
  app.size("--stride", o.stride, "steps of the window; 0 (default) = three quarters of it");
  app.option("--scales", o.scales, "test at these scales: 0.75,1,1.25").range(0.1, 8.0);
  app.flag("--flip", o.flip, "each scale mirrored too; probabilities are averaged");
  app.flag("--multi-scale", o.multi_scale,
           "the paper's multi-scale test: 0.5 to 1.75 by 0.25, each mirrored too");
  app.number("--batch", o.batch, 1, 1024, "windows that go through the network together");
  app.number("--workers", o.workers, 1, 64, "images prepared ahead, by threads of their own");
}

Protocol protocol_of(Command app, const ProtocolOptions& given, const Normalize& normalize) {
  ProtocolOptions o = given;
  if (!o.preset.empty()) {
    const TrainConfig preset = preset_config(o.preset);
    const auto take = [&](const char* option, auto& value, const auto& from) {
      if (!app.given(option)) value = from;
    };
    take("--size", o.size, preset.val_size);
    take("--base-size", o.base_size, preset.base_size);
    take("--multiple", o.multiple, preset.val_multiple);
    take("--window", o.window, preset.val_window);
    take("--stride", o.stride, app.given("--window") ? Size{} : preset.val_stride);
  }
  if (o.multi_scale && !o.scales.empty())
    fail_input("--multi-scale and --scales: give one of the two");
  const std::int64_t multiple = o.multiple > 0 ? o.multiple : o.window.height > 0 ? 1 : 32;
  Protocol p = make_protocol({o.size, o.base_size, o.window, o.stride, multiple}, normalize);
  if (o.multi_scale) o.scales = {0.5, 0.75, 1.0, 1.25, 1.5, 1.75};
  if (!o.scales.empty()) p.scales = o.scales;
  p.flip = o.flip || o.multi_scale;
  p.batch = o.batch;
  return p;
}

void use_preset_data(Command app, const std::string& preset, DatasetConfig& data) {
  if (preset.empty()) return;
  const bool folder = app.given("--data") && std::filesystem::is_directory(data.kind);
  if (folder) data.root = data.kind;
  if (folder || !app.given("--data")) data.kind = preset_config(preset).data;
}

}  // namespace nextgrad
