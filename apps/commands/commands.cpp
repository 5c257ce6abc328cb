#include "apps/commands/commands.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/build_config.h"
#include "apps/commit.h"
#include "apps/settings/presets.h"
#include "apps/settings/same.h"
#include "apps/training/state_of_root.h"
#include "data/files/file.h"
#include "data/images/image.h"
#include "tensor/backend.h"
#include "tensor/error.h"

namespace nextgrad {

namespace {

// The stream that leads where this path does ("-", /dev/stdout, the file it was redirected to):
// what is written must follow what it has, not replace it.
std::FILE* standard_stream(const std::string& path) {
  if (path == "-") return stdout;
  for (std::FILE* stream : {stdout, stderr})
    if (is_open_as(fileno(stream), path)) return stream;
  return nullptr;
}

// Not a device, a pipe or a standard stream: those cannot be replaced by a new file.
bool is_plain(const std::string& path) {
  using std::filesystem::file_type;
  std::error_code ignored;
  const auto kind = std::filesystem::status(path, ignored).type();
  if (kind == file_type::directory) fail_input("{}: is a folder; name a file", path);
  return standard_stream(path) == nullptr &&
         (kind == file_type::not_found || kind == file_type::regular);
}

}  // namespace

void check_output(const std::string& path) {
  if (!path.empty() && world().is_root() && is_plain(path)) const AtomicFile probe(path);
}

void write_json(const std::string& path, const nlohmann::json& json) {
  if (path.empty() || !world().is_root()) return;
  const std::string text =
      json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (is_plain(path)) return write_file_atomic(path, text);
  std::FILE* const standard = standard_stream(path);
  std::FILE* file = standard != nullptr ? standard : std::fopen(path.c_str(), "wb");
  if (file == nullptr) fail_input("{}: {}; name a file you may write", path, std::strerror(errno));
  bool ok = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  ok = std::fflush(file) == 0 && ok;
  const int error = errno;
  if (file != standard) std::fclose(file);
  if (!ok) fail("{}: {}; free some space or name another file", path, std::strerror(error));
}

std::string version_text() {
  return fmt::format(
      "segnext {} (commit {}), MIT license\n"
      "built by {} for {} (cpu_arch {}, kernels {}); {}\n"
      "linked: {{fmt}} (MIT), CLI11 (BSD-3-Clause), toml++ (MIT), nlohmann-json (MIT), "
      "libjpeg-turbo\n"
      "(IJG and BSD-3-Clause), libspng (BSD-2-Clause), libzip (BSD-3-Clause), zlib (Zlib), "
      "utf8proc\n"
      "(MIT and Unicode), Eigen (MPL-2.0), libgomp, libstdc++ (GPL-3 with the runtime exception), "
      "glibc\n(LGPL-2.1){}",
      NEXTGRAD_VERSION, NEXTGRAD_COMMIT, NEXTGRAD_COMPILER, NEXTGRAD_CPU, NEXTGRAD_CPU_ARCH,
      cpu_level(), *NEXTGRAD_CUDA == 0 ? std::string("without CUDA") : "with " NEXTGRAD_CUDA,
      NEXTGRAD_ALSO_LINKED);
}

void add_weights(Command app, std::string& weights, std::string& variant) {
  app.option("--weights", weights,
             "a run's folder, weights written by segnext train, or others' .pth or "
             ".safetensors")
      .required();
  app.option("--variant", variant, "only for weights whose shapes do not say it");
}

void add_placement(Command app, Placement& p) {
  app.option("--threads", p.threads, "threads that compute; 0 = all cores").range(0, 1024);
  app.option("--device", p.device, kDeviceHelp).shows_default();
  app.option("--wait-limit", p.wait_limit, kWaitLimitHelp).range(1.0, 1e6).shows_default();
  app.option("--precision", p.precision, kPrecisionHelp)
      .one_of({"f32", "tf32", "bf16"})
      .shows_default();
}

void take_place(const Placement& placement) {
  set_num_threads(placement.threads, local_rank(world()).on_cores);
  world().set_time_limit(placement.wait_limit);
}

void add_data(Command app, DatasetConfig& data, std::string& split) {
  app.option("--data", data.kind, dataset_kinds_help());
  app.option("--data-root", data.root,
             "the folder the data set was unpacked in, or the TOML file of a set of folders");
  app.option("--split", split, "which part of it: train, val, test").shows_default();
  const auto take = [](const std::string& text) { set_max_pixels(std::stoll(text, nullptr, 0)); };
  const std::string help =
      fmt::format("refuse pictures of more pixels, as their header tells [{}]", max_pixels());
  app.text_option("--max-pixels", "INT", take, help).range(std::int64_t{1}, std::int64_t{1} << 40);
}

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

std::string program_line() {
  return fmt::format("segnext {} (commit {}) for {}, cpu_arch {}, kernels {}\n", NEXTGRAD_VERSION,
                     NEXTGRAD_COMMIT, NEXTGRAD_CPU, NEXTGRAD_CPU_ARCH, cpu_level());
}

std::optional<TrainState> RunOptions::open_for_all() {
  require_same(program_line(), world());
  return state_of_root(world().is_root() ? open() : std::nullopt, world());
}

void RunOptions::add_to(Command app, const Settings& defaults) {
  app.option("--config", config, "TOML file of settings; options win over it");
  const Option to = app.option("--out", out, "folder of the run").shows_default();
  const Option from = app.option("--resume", resume, "folder of a run to continue, bit for bit");
  const Option replace = app.flag("--overwrite", overwrite, "replace a run in --out");
  from.excludes(to).excludes(replace);
  app.settings(defaults, given);
}

}  // namespace nextgrad
