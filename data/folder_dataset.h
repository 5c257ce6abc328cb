// Pairs of image and label files in two folders.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace nextgrad {

// What a pair of folders holds.
struct FolderSpec {
  std::vector<std::string> classes;
  Palette palette;                 // one colour a class
  std::array<int, 256> mapping{};  // value in the file -> class, 255 = ignored, -1 = error
  std::string images, labels;      // folders
  std::string image_suffix;        // empty: any that read_image knows
  std::string label_suffix = ".png";
};

class FolderDataset : public Dataset {
 public:
  // Pairs the files by name. Throws InputError: no such folder, no image, a partner missing.
  explicit FolderDataset(FolderSpec spec);
  std::int64_t size() const override { return static_cast<std::int64_t>(pairs_.size()); }
  std::string name(std::int64_t i) const override { return pair(i).name; }
  Sample load(std::int64_t i) const override;

 private:
  struct Pair {
    std::string name, image, label;
  };
  const Pair& pair(std::int64_t i) const;
  std::array<int, 256> mapping_;
  std::vector<Pair> pairs_;
};

// CamVid's layout below `root`; see DatasetConfig.
FolderSpec camvid_spec(const std::string& root, const std::string& split);

// Reads the description that DatasetConfig documents. Throws InputError for a key or value that is
// wrong, unknown or missing, and for a split it does not have.
FolderSpec read_folder_spec(const std::string& toml_path, const std::string& split);

}  // namespace nextgrad
