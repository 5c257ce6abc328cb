#include "data/datasets/class_dataset.h"

#include "data/datasets/class_folders.h"
#include "data/datasets/idx_dataset.h"
#include "tensor/error.h"

namespace nextgrad {

std::unique_ptr<ClassDataset> make_class_dataset(const ClassDatasetConfig& config,
                                                 const std::string& split) {
  if (split != "train" && split != "val") fail_input("split '{}' is neither train nor val", split);
  if (config.root.empty())
    fail_input("data set '{}' wants a folder; name it with --data-root", config.kind);
  if (config.kind == "folders") return std::make_unique<ClassFolders>(config, split);
  if (config.kind == "idx") return std::make_unique<IdxDataset>(config.root, split);
  fail_input("unknown data set '{}'; known are folders and idx", config.kind);
}

}  // namespace nextgrad
