#include "data/weights/train_state.h"

#include "data/files/file.h"
#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

const std::string kFormat = std::string(kStateFormat) + " 1";

std::string take(Metadata& metadata, const char* key) {
  const auto node = metadata.extract(key);
  if (node.empty())
    fail_input("is no training state ({} is missing); name the run's training state", key);
  return node.mapped();
}

template <class T>
T number(Metadata& metadata, const char* key) {
  const std::string text = take(metadata, key);
  if (const auto value = parse_number<T>(text)) return *value;
  fail_input("damaged training state: {} is no number", key);
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
  return in_file(path, [&] {
    WeightsFile file = read_safetensors(path);
    if (take(file.metadata, "format") != kFormat)
      fail_input("is no training state of this version");
    TrainState state;
    state.iteration = number<std::int64_t>(file.metadata, "iteration");
    state.seed = number<std::uint64_t>(file.metadata, "seed");
    state.best = number<double>(file.metadata, "best");
    state.config = take(file.metadata, "config");
    if (state.iteration < 0) fail_input("damaged training state: iteration below 0");
    state.summed = file.summed;
    state.tensors = std::move(file.tensors);
    state.extra = std::move(file.metadata);
    return state;
  });
}

}  // namespace nextgrad
