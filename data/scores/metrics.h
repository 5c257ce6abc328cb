// Scores from exact counts: of a segmentation, defined as in MMSegmentation; of a classifier.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/images/image.h"
#include "tensor/communicator.h"
#include "tensor/tensor.h"

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
  void add(const LabelMap& label, const LabelMap& prediction);
  void add_all(Communicator& everyone);  // what the other ranks have counted

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

// Place of `label` among the classes when they are ordered by `scores` (0: the best): how many
// score higher, or the same with a lower index. NaN never scores lower.
int rank_of(std::span<const float> scores, int label);

class ClassScores {
 public:
  explicit ClassScores(int classes) : matrix_(classes) {}
  // logits [N,classes] and N labels; returns the best guesses. Throws Error for other shapes or a
  // label out of range.
  std::vector<std::int32_t> add(const Tensor& logits, const std::vector<std::int32_t>& labels);

  void add_all(Communicator& everyone);  // what the other ranks have counted

  int classes() const { return matrix_.classes(); }
  std::int64_t total() const { return matrix_.total(); }
  const ConfusionMatrix& matrix() const { return matrix_; }
  // Share of pictures whose class is the best guess, or among the five best (of fewer classes:
  // all).
  double top1() const;
  double top5() const;

 private:
  ConfusionMatrix matrix_;
  std::int64_t right_ = 0, in_five_ = 0;
};

}  // namespace nextgrad
