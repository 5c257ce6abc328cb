#include "data/datasets/dataset.h"

#include "data/datasets/folder_dataset.h"
#include "data/datasets/layouts/layout.h"
#include "data/datasets/scenes/scenes.h"
#include "data/files/text.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// A data set of a published layout.
struct Published {
  const char* kind;
  FolderSpec (*spec)(const std::string& root, const std::string& split);
  std::vector<std::string> splits;
};

const std::vector<Published>& published() {
  static const std::vector<Published> all{
      {"ade20k", layouts::ade20k, {"train", "val", "test"}},
      {"cityscapes", layouts::cityscapes, {"train", "val", "test"}},
      {"cocostuff", layouts::cocostuff, {"train", "val", "test"}},
      {"voc", layouts::voc, {"train", "val", "trainval", "test"}},
      {"vocaug", layouts::vocaug, {"train", "val", "trainval", "test"}},
      {"context59", layouts::context59, {"train", "val"}},
      {"context60", layouts::context60, {"train", "val"}},
      {"isaid", layouts::isaid, {"train", "val", "test"}},
      {"loveda", layouts::loveda, {"train", "val", "test"}},
      {"potsdam", layouts::potsdam, {"train", "val"}},
      {"vaihingen", layouts::vaihingen, {"train", "val"}},
      {"camvid", layouts::camvid, {"train", "val", "test"}}};
  return all;
}

const Published* find_published(const std::string& kind) {
  for (const Published& p : published())
    if (kind == p.kind) return &p;
  return nullptr;
}

[[noreturn]] void fail_unknown(const std::string& kind) {
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

Submission::Submission() {
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<std::uint8_t>(k);
}

LabelMap Submission::encode(const LabelMap& prediction) const {
  LabelMap out = prediction;
  for (std::uint8_t& v : out.values) v = values[v];
  return out;
}

const std::vector<std::string>& dataset_kinds() {
  static const std::vector<std::string> kinds = [] {
    std::vector<std::string> names{"scenes"};
    for (const Published& p : published()) names.emplace_back(p.kind);
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
  if (const Published* p = find_published(config.kind)) return p->splits;
  fail_unknown(config.kind);
}

std::unique_ptr<Dataset> make_dataset(const DatasetConfig& config, const std::string& split,
                                      std::vector<std::string>* problems) {
  // A split is also a folder's name: it must not lead out of the data set.
  const bool plain = !split.empty() && split.find('/') == std::string::npos && split.front() != '.';
  if (!plain) fail_input("split '{}' is no name like train, val or test", split);
  if (config.kind == "scenes") {
    const std::int64_t count = split == "train" ? config.scenes_train
                               : split == "val" ? config.scenes_val
                                                : config.scenes_test;
    return std::make_unique<Scenes>(split, count, config.scene_size, config.scenes_seed);
  }
  if (config.kind == "folder")
    return std::make_unique<FolderDataset>(read_folder_spec(description_of(config), split),
                                           problems);
  if (const Published* p = find_published(config.kind))
    return std::make_unique<FolderDataset>(p->spec(config.root, split), problems);
  fail_unknown(config.kind);
}

}  // namespace nextgrad
