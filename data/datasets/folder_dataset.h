// Pairs of image and label files in folders.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/datasets/color_labels.h"
#include "data/datasets/dataset.h"

namespace nextgrad {

// Where the files of a split, or of a part of it, are, sub-folders included. They pair by their
// paths within images and labels, without suffix, which are also the samples' names; suffixes match
// in any case, accents in any Unicode form; hidden files and folders are passed over.
struct FolderPart {
  std::string images, labels;  // folders; labels empty: the split has none
  std::string image_suffix;    // empty: any that read_image knows
  std::string label_suffix = ".png";
  std::string list;  // text file with a name or path a line; empty: every image of the folder
  bool exact_list = false;  // a path there must lead to the image; else its last name will do
  bool nested = false;      // names and pairs are without the sub-folders (Cityscapes' cities)
  std::vector<std::string> apart;  // folders that are not part of those above, should they lie in
                                   // them: labels among images, other splits
};

// What the folders hold.
struct FolderSpec {
  std::vector<std::string> classes;
  Palette palette;                     // one colour a class
  std::array<int, 256> mapping{};      // value in the file -> class, 255 = ignored, -1 = error
  std::map<int, std::uint8_t> values;  // if not empty, instead of mapping; up to 65535
  std::vector<std::pair<Color, std::uint8_t>> colors;  // also labels painted in these
  bool exact_colors = false;  // any other colour is an error; else it is ignored
  std::string description;    // the TOML file, for messages; empty: a published data set
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
  std::vector<int> ignored_values() const override { return ignored_values_; }
  Sample load(std::int64_t i) const override;

 private:
  struct Pair {
    std::string name, image, label;
  };
  const Pair& pair(std::int64_t i) const;
  LabelMap read_colors(const std::vector<std::uint8_t>& bytes, const std::string& path) const;
  void apply_mapping(LabelMap& label, const std::string& path) const;
  std::array<std::uint8_t, 256> value_{}, invalid_{};  // mapping, as the inner loop wants it
  std::map<int, std::uint8_t> values_;
  std::optional<ColorLabels> colors_;
  bool exact_colors_ = false;
  std::string description_;
  std::vector<int> ignored_values_;
  bool has_labels_ = true;
  std::vector<Pair> pairs_;
};

// Reads the description that DatasetConfig documents. Throws InputError for a key or value that is
// wrong, unknown or missing, and for a split it does not have.
FolderSpec read_folder_spec(const std::string& toml_path, const std::string& split);
// The splits it has.
std::vector<std::string> folder_splits(const std::string& toml_path);

}  // namespace nextgrad
