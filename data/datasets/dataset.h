// Data sets: numbered pairs of a picture and its label.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/images/image.h"
#include "tensor/error.h"

namespace nextgrad {

template <class Label>
struct SampleOf {
  std::string name;  // of the file without suffix; with the sub-folders, where the data set has any
  Image image;
  Label label;
};
// The label: class indices below the number of classes, or 255 = ignored; height 0 if the split has
// no labels.
using Sample = SampleOf<LabelMap>;

// What the label is decides what is learned: of each pixel (Dataset), of a picture (ClassDataset).
template <class Label>
class DatasetOf {
 public:
  virtual ~DatasetOf() = default;
  virtual std::int64_t size() const = 0;
  virtual std::string name(std::int64_t i) const = 0;
  // Any thread may call the loading functions at any time. They throw InputError that names the
  // file: unreadable, a label out of range, image and label of different sizes (load only). A data
  // set has load() or both halves of it.
  virtual SampleOf<Label> load(std::int64_t i) const {
    return {name(i), load_image(i), load_label(i)};
  }
  virtual Image load_image(std::int64_t i) const { return load(i).image; }
  virtual Label load_label(std::int64_t i) const { return load(i).label; }
  // The file; empty where there is none (drawn scenes).
  virtual std::string image_path(std::int64_t) const { return {}; }
  // What messages call a sample: its file, or its name if it has none.
  std::string called(std::int64_t i) const {
    const std::string path = image_path(i);
    return path.empty() ? name(i) : path;
  }

  const std::vector<std::string>& classes() const { return classes_; }
  int num_classes() const { return static_cast<int>(classes_.size()); }

 protected:
  std::size_t checked(std::int64_t i) const {  // the number of a sample, as an index
    check(i >= 0 && i < size(), "data set: sample {} of {}", i, size());
    return static_cast<std::size_t>(i);
  }
  std::vector<std::string> classes_;
};

// Pictures that show one class each, an index in classes(): what an encoder is pre-trained on.
using ClassDataset = DatasetOf<int>;

// How the judges of a data set want predictions: one PNG an image,
//   write_png(folder / s.file_name(name), s.encode(prediction), s.palette);
struct Submission {
  std::array<std::uint8_t, 256> values{};  // class index -> value in the file
  Palette palette;  // empty: 8-bit grey PNG; else a palette PNG, whose entry v is the colour of the
                    // value v
  std::string suffix = ".png";  // of the file's name, after the sample's name
  std::string note;             // one line for the user: who takes it, and packed how

  explicit Submission(int first = 0);  // values[k] = first + k, grey
  std::string file_name(const std::string& sample) const { return sample + suffix; }
  // The prediction with each class index replaced by its value.
  LabelMap encode(const LabelMap& prediction) const;
};

class Dataset : public DatasetOf<LabelMap> {
 public:
  // The file; empty where there is none (drawn scenes, a split without labels).
  virtual std::string label_path(std::int64_t) const { return {}; }
  // False for a split whose labels are not published: it can be predicted, not scored or trained
  // on.
  virtual bool has_labels() const { return true; }
  // The values of a label file that do not count, in order.
  virtual std::vector<int> ignored_values() const { return {kIgnoreLabel}; }

  const Palette& palette() const { return palette_; }  // one colour a class
  const Submission& submission() const { return submission_; }

 protected:
  Palette palette_;
  Submission submission_;
};

// Which data set. `root` is the folder its archives were unpacked in (or a folder around or inside
// that one). `kind` is one of dataset_kinds():
//  - "scenes": the embedded one (data/datasets/scenes/scenes.h); needs no file;
//  - "ade20k": ADEChallengeData2016/{images,annotations}/{training,validation}; test: images only;
//  - "cityscapes": leftImg8bit/SPLIT/CITY, gtFine/SPLIT/CITY with *_gtFine_labelIds.png or
//    *_gtFine_labelTrainIds.png; test: images only;
//  - "cocostuff" (164k): images/{train2017,val2017}, annotations/... with *_labelTrainIds.png or
//    the published pixel maps; also COCO's and stuffthingmaps_trainval2017's own folders;
//  - "voc": VOCdevkit/VOC2012 with its lists train, val, trainval; test: images only;
//    "vocaug": the same, train with SegmentationClassAug and aug.txt or trainaug.txt;
//  - "context59", "context60": VOCdevkit/VOC2010 with SegmentationClassContext and the lists of
//    ImageSets/SegmentationContext, as MMSegmentation makes them; 59: without the background;
//  - "isaid": patches as `segnext prepare isaid` or MMSegmentation (img_dir, ann_dir) or JSeg
//    (SPLIT/images, SPLIT/Semantic_masks) cut them;
//  - "loveda": as published (Train/Rural/images_png, ...) or img_dir/ann_dir as MMSegmentation;
//  - "potsdam", "vaihingen": img_dir/SPLIT, ann_dir/SPLIT, cut by MMSegmentation or JSeg;
//  - "camvid": root/images/SPLIT/NAME.jpg (any suffix read_image knows), root/labels/SPLIT/NAME.png
//    of one byte a pixel, classes 0..10, 11 = void;
//  - "folder": any pairs of images and label PNGs, described by the TOML file `root`:
//
//      classes = ["background", "leaf", "stem"]
//      palette = [[0, 0, 0], [0, 200, 0], [200, 120, 0]]  # optional: generated
//      ignore_colors = [[255, 255, 255]]  # optional: these do not count in labels in colours
//      ignore_label = 255          # optional: this value in the files does not count
//      reduce_zero_label = false   # optional: 0 does not count, the rest is one less
//      image_suffix = ".jpg"       # optional: any that read_image knows
//      label_suffix = ".png"       # optional; "_gt.png" pairs NAME.jpg with NAME_gt.png
//      [train]                     # one table a split; paths are relative to this file
//      images = "photos/train"     # with all sub-folders: photos/train/a/1.jpg pairs with
//      labels = "masks/train"      # masks/train/a/1.png and is called a/1
//      [val]
//      images = "photos/val"
//      labels = "masks/val"
//      list = "val.txt"            # optional: only these; names or paths, one a line, with or
//                                  # without suffix
//      [values]                    # optional, instead of ignore_label and reduce_zero_label: what
//      0 = "background"            # each value of the label files stands for; 0 to 65535, any
//      128 = "ignore"              # other value is an error
//      255 = "leaf"
//
//    Labels are PNGs of one number a pixel (grey, palette; up to 16 bits) or, with a palette here,
//    of its colours (RGB), of which each pixel has exactly one.
// Or, of pictures that show one class each, one of class_dataset_kinds(), with the splits train and
// val:
//  - "folders": root/train/CLASS/PICTURE and root/val/CLASS/PICTURE, as ImageNet lies unpacked
//    (torchvision's ImageFolder): the classes are the names of train's folders, sorted; any suffix
//    that read_image knows, in any case; also in sub-folders of a class's. Or
//    root/CLASS/PICTURE: then of each class the share `val_share`, drawn by `seed`, is the split
//    val;
//  - "idx": MNIST, Fashion-MNIST and their like: root/train-images-idx3-ubyte,
//    train-labels-idx1-ubyte and the same of t10k (the split val), plain or .gz; grey becomes RGB.
struct DatasetConfig {
  std::string kind = "scenes";
  std::string root;
  double val_share = 0;
  std::uint64_t seed = 0;  // of val_share's choice
};

const std::vector<std::string>& dataset_kinds();
const std::vector<std::string>& class_dataset_kinds();
// For --help: what the kinds are and what --data-root then is, one line.
std::string dataset_kinds_help();
// The splits this data set may have, "train" first; not all need to be there. Throws InputError
// for an unknown kind or an unreadable description.
std::vector<std::string> dataset_splits(const DatasetConfig& config);

// Opens a split. Throws InputError that names file and remedy: unknown kind, no such folder or
// split, an image without label or a label without image, a split without images, an unknown or
// wrong key in the description. With `problems`, files that lack their partner or are named twice
// are left out, and reported there, one line each, instead of thrown.
std::unique_ptr<Dataset> make_dataset(const DatasetConfig& config, const std::string& split,
                                      std::vector<std::string>* problems = nullptr);
// The same of pictures that show one class each. Refused are also a class without pictures, fewer
// than two classes, a class of val that train lacks, a damaged file.
std::unique_ptr<ClassDataset> make_class_dataset(const DatasetConfig& config,
                                                 const std::string& split);

}  // namespace nextgrad
