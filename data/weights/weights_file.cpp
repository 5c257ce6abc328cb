#include "data/weights/weights_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string_view>

#include "data/files/file.h"
#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// What people give by mistake, and what to do about it.
[[noreturn]] void refuse(std::string_view head) {
  if (head.starts_with("<") || head.starts_with("\n<"))
    fail_input("is a web page, not weights; download the file itself");
  if (head.starts_with("\x89HDF"))
    fail_input("is an HDF5 file (Keras?), not PyTorch weights; give .pth or .safetensors");
  if (head.starts_with("\x1f\x8b")) fail_input("is compressed with gzip; unpack it first");
  fail_input("is neither a .safetensors file nor a PyTorch .pth; name a file of weights");
}

// The file that a path means.
std::string file_of(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  const fs::path best = fs::path(path) / "best.safetensors";
  const fs::path last = fs::path(path) / "last.safetensors";
  if (fs::exists(best, ignored)) return best.string();
  if (fs::exists(last, ignored))
    fail_input("{}: a run's folder without best.safetensors, before its first validation; name {}",
               path, last.string());
  fail_input("{}: is a folder, but no run's with best.safetensors in it; name a file of weights",
             path);
}

}  // namespace

const Tensor* WeightsFile::find(const std::string& name) const {
  for (const NamedTensor& t : tensors)
    if (t.name == name) return &t.value;
  return nullptr;
}

WeightsFile read_weights(const std::string& path) {
  const std::string file = file_of(path);
  WeightsFile weights = in_file(file, [&] {
    const InputFile input(file);
    if (std::optional<WeightsFile> torch = read_torch_file(input)) return std::move(*torch);
    const std::string head = input.head();
    // The first byte of the header is that of a JSON object.
    if (head.size() < 9 || head[8] != '{') refuse(head);
    return read_safetensors(file);
  });
  weights.path = file;
  return weights;
}

std::vector<std::string> unusable(const StateDict& tensors) {
  std::vector<std::string> found;
  const auto count = [&](const NamedTensor& t, const char* what, auto&& bad) {
    const std::vector<float> values = t.value.to_vector<float>();
    if (const auto n = std::count_if(values.begin(), values.end(), bad); n > 0)
      found.push_back(
          fmt::format("tensor {} holds {} {} among {}", in_quotes(t.name), n, what, values.size()));
  };
  for (const NamedTensor& t : tensors) {
    if (!is_floating(t.value.dtype())) continue;
    count(t, "numbers that are not finite (NaN, infinity)",
          [](float x) { return !std::isfinite(x); });
    if (t.name.ends_with("running_var"))
      count(t, "variances below 0", [](float x) { return x < 0; });
  }
  return found;
}

void check_usable(const std::string& path, const StateDict& tensors) {
  const auto found = unusable(tensors);
  if (found.empty()) return;
  fail_input("{}: {}{}; use weights from before they went wrong", path, found[0],
             found.size() > 1 ? fmt::format(" (and {} tensors more)", found.size() - 1) : "");
}

}  // namespace nextgrad
