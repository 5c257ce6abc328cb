#include "data/weights/train_state.h"

#include <charconv>

#include "tensor/error.h"

namespace nextgrad {
namespace {

const std::string kFormat = std::string(kStateFormat) + " 1";

std::string take(Metadata& metadata, const char* key, const std::string& path) {
  const auto node = metadata.extract(key);
  if (node.empty())
    fail_input("{}: is no training state ({} is missing); name the run's training state", path,
               key);
  return node.mapped();
}

template <class T>
T number(Metadata& metadata, const char* key, const std::string& path) {
  const std::string text = take(metadata, key, path);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    fail_input("{}: damaged training state: {} is no number", path, key);
  return value;
}

}  // namespace

void save_train_state(const std::string& path, const TrainState& state) {
  Metadata metadata = state.extra;
  metadata["format"] = kFormat;
  metadata["iteration"] = fmt::format("{}", state.iteration);
  metadata["seed"] = fmt::format("{}", state.seed);
  metadata["best"] = fmt::format("{}", state.best);  // the shortest text that reads back the same
  metadata["config"] = state.config;
  write_safetensors(path, state.tensors, metadata);
}

TrainState load_train_state(const std::string& path) {
  SafeTensors file = read_safetensors(path);
  if (take(file.metadata, "format", path) != kFormat)
    fail_input("{}: is no training state of this version", path);
  TrainState state;
  state.iteration = number<std::int64_t>(file.metadata, "iteration", path);
  state.seed = number<std::uint64_t>(file.metadata, "seed", path);
  state.best = number<double>(file.metadata, "best", path);
  state.config = take(file.metadata, "config", path);
  if (state.iteration < 0) fail_input("{}: damaged training state: iteration below 0", path);
  state.summed = file.summed;
  state.tensors = std::move(file.tensors);
  state.extra = std::move(file.metadata);
  return state;
}

}  // namespace nextgrad
