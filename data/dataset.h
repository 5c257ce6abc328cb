// Data sets: numbered pairs of a picture and its label map.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/image.h"

namespace nextgrad {

struct Sample {
  std::string name;  // file name without folder and suffix
  Image image;
  LabelMap label;  // class indices below the number of classes, or 255 = ignored
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  virtual std::string name(std::int64_t i) const = 0;
  // Any thread may call it at any time. Throws InputError that names the file: unreadable, a label
  // out of range, image and label of different sizes.
  virtual Sample load(std::int64_t i) const = 0;
  const std::vector<std::string>& classes() const { return classes_; }
  const Palette& palette() const { return palette_; }  // one colour a class
  int num_classes() const { return static_cast<int>(classes_.size()); }

 protected:
  std::vector<std::string> classes_;
  Palette palette_;
};

// Which data set. `kind`:
//  - "scenes": the embedded one (data/scenes.h); needs no file;
//  - "camvid": root/images/SPLIT/NAME.jpg (any suffix read_image knows), root/labels/SPLIT/NAME.png
//    of one byte a pixel, classes 0..10, 11 = void;
//  - "folder": any pairs of images and label PNGs, described by the TOML file `root`:
//
//      classes = ["background", "leaf", "stem"]
//      palette = [[0, 0, 0], [0, 200, 0], [200, 120, 0]]  # optional: generated
//      ignore_label = 255          # optional: this value in the files does not count
//      reduce_zero_label = false   # optional: 0 does not count, the rest is one less
//      image_suffix = ".jpg"       # optional: any that read_image knows
//      label_suffix = ".png"       # optional; "_gt.png" pairs NAME.jpg with NAME_gt.png
//      [train]                     # one table a split; paths are relative to this file
//      images = "photos/train"
//      labels = "masks/train"
//      [val]
//      images = "photos/val"
//      labels = "masks/val"
struct DatasetConfig {
  std::string kind = "scenes";
  std::string root;
  // The embedded data set: pixels a side, images per split, seed.
  std::int64_t scene_size = 128;
  std::int64_t scenes_train = 800, scenes_val = 100, scenes_test = 100;
  std::uint64_t scenes_seed = 0;
};

// Opens a split ("train", "val", "test", or another the folder has). Throws InputError that names
// file and remedy: unknown kind, no such folder or split, an image without label or a label
// without image, a split without images, an unknown or wrong key in the description.
std::unique_ptr<Dataset> make_dataset(const DatasetConfig& config, const std::string& split);

}  // namespace nextgrad
