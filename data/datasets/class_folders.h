// A folder of pictures for each class.
#pragma once

#include <string>
#include <vector>

#include "data/datasets/class_dataset.h"

namespace nextgrad {

class ClassFolders : public ClassDataset {
 public:
  // See ClassDatasetConfig, also for what is refused.
  ClassFolders(const ClassDatasetConfig& config, const std::string& split);
  std::int64_t size() const override { return static_cast<std::int64_t>(pictures_.size()); }
  std::string name(std::int64_t i) const override { return picture(i).file; }
  int label(std::int64_t i) const override { return picture(i).label; }
  Image load(std::int64_t i) const override;

 private:
  // A million of them fit in memory: the folder is not repeated.
  struct Picture {
    int label;
    std::string file;
  };
  const Picture& picture(std::int64_t i) const;
  void add_class(const std::string& folder, int label);
  void keep_share(const ClassDatasetConfig& config, bool val);

  std::string folder_;  // holds the classes' folders
  std::vector<Picture> pictures_;
};

}  // namespace nextgrad
