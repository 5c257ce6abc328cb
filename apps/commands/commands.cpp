#include "apps/commands/commands.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/files/file.h"
#include "data/images/image.h"
#include "tensor/error.h"

namespace nextgrad {

void add_size(CLI::App& app, const std::string& option, Size& size, const std::string& help) {
  app.add_option(option, CLI::callback_t([&size, option](const CLI::results_t& texts) {
                   size = parse_size(fmt::format("{}", fmt::join(texts, " ")), option);
                   return true;
                 }),
                 help)
      ->type_name("SIZE")
      ->expected(1);
}

void add_weights(CLI::App& app, std::string& weights, std::string& variant) {
  app.add_option("--weights", weights,
                 "a run's folder, weights written by segnext train, or others' .pth or "
                 ".safetensors")
      ->required();
  app.add_option("--variant", variant, "only for weights whose shapes do not say it");
}

void add_placement(CLI::App& app, Placement& p, int& threads) {
  app.add_option("--threads", threads, "threads that compute; 0 = all cores")
      ->check(CLI::Range(0, 1024));
  app.add_option("--device", p.device, kDeviceHelp)->capture_default_str();
  app.add_option("--precision", p.precision, kPrecisionHelp)
      ->check(CLI::IsMember({"f32", "tf32", "bf16"}))
      ->capture_default_str();
}

void add_data(CLI::App& app, DatasetConfig& data, std::string& split) {
  app.add_option("--data", data.kind, dataset_kinds_help());
  app.add_option("--data-root", data.root,
                 "the folder the data set was unpacked in, or the TOML file of a set of folders");
  app.add_option("--split", split, "which part of it: train, val, test")->capture_default_str();
  app.add_option_function<std::int64_t>(
         "--max-pixels", set_max_pixels,
         fmt::format("refuse pictures of more pixels, as their header tells [{}]", max_pixels()))
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
}

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
  if (!path.empty() && is_plain(path)) const AtomicFile probe(path);
}

void write_json(const std::string& path, const nlohmann::json& json) {
  if (path.empty()) return;
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

}  // namespace nextgrad
