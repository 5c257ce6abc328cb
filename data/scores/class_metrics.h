// Scores of a classifier from exact counts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/scores/metrics.h"
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

  int classes() const { return matrix_.classes(); }
  std::int64_t total() const { return matrix_.total(); }
  const ConfusionMatrix& matrix() const { return matrix_; }
  // Share of pictures whose class is the best guess, or among the five best (of fewer classes:
  // all).
  double top1() const { return share(right_); }
  double top5() const { return share(in_five_); }

 private:
  double share(std::int64_t n) const;
  ConfusionMatrix matrix_;
  std::int64_t right_ = 0, in_five_ = 0;
};

}  // namespace nextgrad
