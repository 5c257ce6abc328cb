// Scores of a segmentation from exact counts, defined as in MMSegmentation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/images/image.h"

namespace nextgrad {

// NaN where a class (or everything) is absent; means leave such classes out.
struct Scores {
  std::vector<double> iou;       // intersection / union; absent: neither labelled nor predicted
  std::vector<double> accuracy;  // correct / labelled; absent: not labelled
  double mean_iou, mean_accuracy, all_accuracy;  // mIoU, mAcc, aAcc
};

class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(int classes);
  // Counts pixels whose label is not `ignore`. Throws Error for different sizes or a value outside
  // [0, classes); then nothing is counted.
  void add(std::span<const std::int32_t> label, std::span<const std::int32_t> prediction,
           std::int32_t ignore = kIgnoreLabel);
  void add(const LabelMap& label, std::span<const std::int32_t> prediction);
  void merge(const ConfusionMatrix& other);
  void reset();

  int classes() const { return classes_; }
  // Pixels of class `label` that were predicted as `prediction`.
  std::int64_t count(int label, int prediction) const;
  std::int64_t labelled(int label) const;  // pixels of this class
  std::int64_t total() const;
  Scores scores() const;

 private:
  int classes_;
  std::vector<std::int64_t> counts_;  // [label, prediction]
};

}  // namespace nextgrad
