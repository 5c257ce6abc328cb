#include "data/datasets/dataset.h"

#include <numeric>

#include "data/datasets/folder_dataset.h"
#include "data/datasets/layouts/layout.h"
#include "data/datasets/scenes/scenes.h"
#include "data/files/text.h"

namespace nextgrad {
namespace {

const layouts::Layout& find_published(const std::string& kind) {
  for (const layouts::Layout& layout : layouts::published())
    if (kind == layout.kind) return layout;
  const std::string guess = nearest(kind, dataset_kinds());
  fail_input("unknown data set '{}'; {}choose {}", kind,
             guess.empty() ? "" : fmt::format("did you mean {}? Or ", guess),
             fmt::join(dataset_kinds(), ", "));
}

const std::string& description_of(const DatasetConfig& config) {
  if (config.root.empty()) fail_input("data set 'folder' wants the path of its TOML description");
  return config.root;
}

}  // namespace

Submission::Submission(int first) {
  std::iota(values.begin(), values.end(), static_cast<std::uint8_t>(first));
}

LabelMap Submission::encode(const LabelMap& prediction) const {
  LabelMap out = prediction;
  for (std::uint8_t& v : out.values) v = values[v];
  return out;
}

const std::vector<std::string>& dataset_kinds() {
  static const std::vector<std::string> kinds = [] {
    std::vector<std::string> names{"scenes"};
    for (const layouts::Layout& layout : layouts::published()) names.emplace_back(layout.kind);
    names.emplace_back("folder");
    return names;
  }();
  return kinds;
}

std::string dataset_kinds_help() {
  return fmt::format(
      "kind of data set: scenes (drawn, needs no file), {} (--data-root: the folder it was "
      "unpacked in), folder (--data-root: the TOML file that describes it)",
      fmt::join(dataset_kinds().begin() + 1, dataset_kinds().end() - 1, ", "));
}

std::vector<std::string> dataset_splits(const DatasetConfig& config) {
  if (config.kind == "scenes") return {"train", "val", "test"};
  if (config.kind == "folder") return folder_splits(description_of(config));
  return find_published(config.kind).splits;
}

std::unique_ptr<Dataset> make_dataset(const DatasetConfig& config, const std::string& split,
                                      std::vector<std::string>* problems) {
  // A split is also a folder's name: it must not lead out of the data set.
  const bool plain = !split.empty() && split.find('/') == std::string::npos && split.front() != '.';
  if (!plain) fail_input("split '{}' is no name like train, val or test", split);
  if (config.kind == "scenes")
    return std::make_unique<Scenes>(split, split == "train" ? 800 : 100, 128, 0);
  FolderSpec spec = config.kind == "folder" ? read_folder_spec(description_of(config), split)
                                            : find_published(config.kind).open(config.root, split);
  return open_folders(std::move(spec), problems);
}

}  // namespace nextgrad
