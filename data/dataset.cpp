#include "data/dataset.h"

#include <algorithm>

#include "data/folder_dataset.h"
#include "data/scenes.h"
#include "tensor/error.h"

namespace nextgrad {

std::unique_ptr<Dataset> make_dataset(const DatasetConfig& config, const std::string& split) {
  // A split is also a folder's name: it must not lead out of the data set.
  const bool plain = !split.empty() && split.find('/') == std::string::npos && split.front() != '.';
  if (!plain) fail_input("split '{}' is no name like train, val or test", split);
  if (config.kind == "scenes") {
    const std::int64_t count = split == "train" ? config.scenes_train
                               : split == "val" ? config.scenes_val
                                                : config.scenes_test;
    return std::make_unique<Scenes>(split, count, config.scene_size, config.scenes_seed);
  }
  if (config.kind == "camvid")
    return std::make_unique<FolderDataset>(camvid_spec(config.root, split));
  if (config.kind == "folder") {
    if (config.root.empty()) fail_input("data set 'folder' wants the path of its TOML description");
    return std::make_unique<FolderDataset>(read_folder_spec(config.root, split));
  }
  fail_input("unknown data set '{}'; known are scenes, camvid and folder", config.kind);
}

}  // namespace nextgrad
