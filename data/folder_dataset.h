// Pairs of image and label files in folders.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/color_labels.h"
#include "data/dataset.h"

namespace nextgrad {

// Where the files of a split, or of a part of it, are. They pair by name without suffix; suffixes
// match in any case; hidden files are passed over.
struct FolderPart {
  std::string images, labels;  // folders; labels empty: the split has none
  std::string image_suffix;    // empty: any that read_image knows
  std::string label_suffix = ".png";
  std::string list;     // text file with a name a line; empty: every image of the folder
  bool nested = false;  // the files are in sub-folders (Cityscapes' cities)
};

// What the folders hold.
struct FolderSpec {
  std::vector<std::string> classes;
  Palette palette;                 // one colour a class
  std::array<int, 256> mapping{};  // value in the file -> class, 255 = ignored, -1 = error
  std::vector<std::pair<Color, std::uint8_t>> colors;  // also labels painted in these
  Submission submission;
  std::vector<FolderPart> parts;  // a name that an earlier part has is not taken again
};

// The values 0..classes-1 are the classes (first: value of class 0) and 255 is ignored; with
// first = 1, 0 is ignored too; the others are errors.
std::array<int, 256> plain_mapping(int classes, int first = 0);

class FolderDataset : public Dataset {
 public:
  // Pairs the files. Throws InputError: no such folder or list, no image, a partner missing, a
  // listed image missing; see make_dataset for `problems`.
  explicit FolderDataset(FolderSpec spec, std::vector<std::string>* problems = nullptr);
  std::int64_t size() const override { return static_cast<std::int64_t>(pairs_.size()); }
  std::string name(std::int64_t i) const override { return pair(i).name; }
  std::string image_path(std::int64_t i) const override { return pair(i).image; }
  std::string label_path(std::int64_t i) const override { return pair(i).label; }
  bool has_labels() const override { return has_labels_; }
  Image load_image(std::int64_t i) const override;
  LabelMap load_label(std::int64_t i) const override;
  Sample load(std::int64_t i) const override;

 private:
  struct Pair {
    std::string name, image, label;
  };
  const Pair& pair(std::int64_t i) const;
  void apply_mapping(LabelMap& label, const std::string& path) const;
  std::array<std::uint8_t, 256> value_{}, invalid_{};  // mapping, as the inner loop wants it
  std::optional<ColorLabels> colors_;
  bool has_labels_ = true;
  std::vector<Pair> pairs_;
};

// Reads the description that DatasetConfig documents. Throws InputError for a key or value that is
// wrong, unknown or missing, and for a split it does not have.
FolderSpec read_folder_spec(const std::string& toml_path, const std::string& split);
// The splits it has.
std::vector<std::string> folder_splits(const std::string& toml_path);

}  // namespace nextgrad
