#include "apps/commands/commands.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/files/file.h"
#include "data/images/image.h"
#include "tensor/error.h"

namespace nextgrad {

void add_weights(Command app, std::string& weights, std::string& variant) {
  app.option("--weights", weights,
             "a run's folder, weights written by segnext train, or others' .pth or "
             ".safetensors")
      .required();
  app.option("--variant", variant, "only for weights whose shapes do not say it");
}

void add_placement(Command app, Placement& p, int& threads) {
  app.option("--threads", threads, "threads that compute; 0 = all cores").range(0, 1024);
  app.option("--device", p.device, kDeviceHelp).shows_default();
  app.option("--precision", p.precision, kPrecisionHelp)
      .one_of({"f32", "tf32", "bf16"})
      .shows_default();
}

void add_data(Command app, DatasetConfig& data, std::string& split) {
  app.option("--data", data.kind, dataset_kinds_help());
  app.option("--data-root", data.root,
             "the folder the data set was unpacked in, or the TOML file of a set of folders");
  app.option("--split", split, "which part of it: train, val, test").shows_default();
  const auto take = [](const std::vector<std::string>& texts) {
    set_max_pixels(std::stoll(texts.front(), nullptr, 0));
  };
  const std::string help =
      fmt::format("refuse pictures of more pixels, as their header tells [{}]", max_pixels());
  app.text_option("--max-pixels", take, help)
      .takes("INT", 1, 1)
      .range(std::int64_t{1}, std::int64_t{1} << 40);
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
