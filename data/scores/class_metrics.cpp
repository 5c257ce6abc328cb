#include "data/scores/class_metrics.h"

#include <algorithm>
#include <limits>

#include "tensor/error.h"

namespace nextgrad {

int rank_of(std::span<const float> scores, int label) {
  const auto mine = static_cast<std::size_t>(label);
  int rank = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const bool below = scores[j] < scores[mine] || (scores[j] == scores[mine] && j > mine);
    rank += j != mine && !below;
  }
  return rank;
}

ClassScores::ClassScores(int classes) : matrix_(classes) {}

void ClassScores::add(const Tensor& logits, const std::vector<int>& labels) {
  const auto n = static_cast<std::int64_t>(labels.size());
  check(logits.shape() == Shape{n, classes()}, "scores: logits {} for {} labels of {} classes",
        logits.shape().str(), n, classes());
  for (const int label : labels)
    check(label >= 0 && label < classes(), "scores: label {} of {} classes", label, classes());
  const auto values = logits.to_vector<float>();
  const auto width = static_cast<std::size_t>(classes());
  std::vector<std::int32_t> best(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = std::span(values).subspan(i * width, width);
    const int rank = rank_of(row, labels[i]);
    right_ += rank == 0;
    in_five_ += rank < 5;
    best[i] = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }
  matrix_.add(labels, best, -1);  // no picture is ignored
}

double ClassScores::share(std::int64_t n) const {
  return total() > 0 ? static_cast<double>(n) / static_cast<double>(total())
                     : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace nextgrad
