// Data sets of pictures that show one class each: what an encoder is pre-trained on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/images/image.h"

namespace nextgrad {

class ClassDataset {
 public:
  virtual ~ClassDataset() = default;
  virtual std::int64_t size() const = 0;
  virtual std::string name(std::int64_t i) const = 0;
  virtual int label(std::int64_t i) const = 0;  // index in classes()
  // Any thread may call it at any time. Throws InputError that names the file.
  virtual Image load(std::int64_t i) const = 0;
  const std::vector<std::string>& classes() const { return classes_; }
  int num_classes() const { return static_cast<int>(classes_.size()); }

 protected:
  std::vector<std::string> classes_;
};

// Which data set. `kind`:
//  - "folders": root/train/CLASS/PICTURE and root/val/CLASS/PICTURE, as ImageNet lies unpacked
//    (torchvision's ImageFolder): the classes are the names of train's folders, sorted; any suffix
//    that read_image knows, in any case; also in sub-folders of a class's. Or
//    root/CLASS/PICTURE: then of each class the share `val_share`, drawn by `seed`, is the split
//    val;
//  - "idx": MNIST, Fashion-MNIST and their like: root/train-images-idx3-ubyte,
//    train-labels-idx1-ubyte and the same of t10k (the split val), plain or .gz; grey becomes RGB.
struct ClassDatasetConfig {
  std::string kind = "folders";
  std::string root;
  double val_share = 0;
  std::uint64_t seed = 0;
};

// Opens the split "train" or "val". Throws InputError that names file and remedy: no such folder, a
// class without pictures, fewer than two classes, a class of val that train lacks, a damaged file.
std::unique_ptr<ClassDataset> make_class_dataset(const ClassDatasetConfig& config,
                                                 const std::string& split);

}  // namespace nextgrad
