// Scores of a classifier from exact counts.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "tensor/tensor.h"

namespace nextgrad {

// Place of `label` among the classes when they are ordered by `scores` (0: the best): how many
// score higher, or the same with a lower index. NaN never scores lower.
int rank_of(std::span<const float> scores, int label);

class ClassScores {
 public:
  explicit ClassScores(int classes);
  // logits [N,classes] and N labels. Throws Error for other shapes or a label out of range.
  void add(const Tensor& logits, const std::vector<int>& labels);

  int classes() const { return classes_; }
  std::int64_t total() const { return total_; }
  // Share of pictures whose class is the best guess, or among the five best (of fewer classes:
  // all).
  double top1() const { return share(right_); }
  double top5() const { return share(in_five_); }
  // Share of a class's pictures that were recognised; NaN where it has none.
  double accuracy(int label) const;
  std::int64_t count(int label, int prediction) const;

  // {"top1", "top5", "images", "accuracy": [a number or null per class]} and, of at most 100
  // classes, "confusion": [[...]], rows = labels.
  nlohmann::json json() const;

 private:
  double share(std::int64_t n) const;
  int classes_;
  std::int64_t total_ = 0, right_ = 0, in_five_ = 0;
  std::vector<std::int64_t> counts_;  // [label, prediction]
};

}  // namespace nextgrad
