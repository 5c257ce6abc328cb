#include "data/class_metrics.h"

#include <algorithm>
#include <cmath>
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

ClassScores::ClassScores(int classes)
    : classes_(classes),
      counts_(static_cast<std::size_t>(classes) * static_cast<std::size_t>(classes)) {
  check(classes >= 1, "scores: {} classes", classes);
}

void ClassScores::add(const Tensor& logits, const std::vector<int>& labels) {
  const auto n = static_cast<std::int64_t>(labels.size());
  check(logits.shape() == Shape{n, classes_}, "scores: logits {} for {} labels of {} classes",
        logits.shape().str(), n, classes_);
  for (const int label : labels)
    check(label >= 0 && label < classes_, "scores: label {} of {} classes", label, classes_);
  const auto values = logits.to_vector<float>();
  const auto width = static_cast<std::size_t>(classes_);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = std::span(values).subspan(i * width, width);
    const int rank = rank_of(row, labels[i]);
    const auto best = std::max_element(row.begin(), row.end()) - row.begin();
    ++total_;
    right_ += rank == 0;
    in_five_ += rank < 5;
    ++counts_[static_cast<std::size_t>(labels[i]) * width + static_cast<std::size_t>(best)];
  }
}

double ClassScores::share(std::int64_t n) const {
  return total_ > 0 ? static_cast<double>(n) / static_cast<double>(total_)
                    : std::numeric_limits<double>::quiet_NaN();
}

std::int64_t ClassScores::count(int label, int prediction) const {
  return counts_[static_cast<std::size_t>(label) * static_cast<std::size_t>(classes_) +
                 static_cast<std::size_t>(prediction)];
}

double ClassScores::accuracy(int label) const {
  std::int64_t sum = 0;
  for (int p = 0; p < classes_; ++p) sum += count(label, p);
  return sum > 0 ? static_cast<double>(count(label, label)) / static_cast<double>(sum)
                 : std::numeric_limits<double>::quiet_NaN();
}

nlohmann::json ClassScores::json() const {
  nlohmann::json json{{"top1", top1()}, {"top5", top5()}, {"images", total_}};
  for (int c = 0; c < classes_; ++c) json["accuracy"].push_back(accuracy(c));
  if (classes_ > 100) return json;
  for (int c = 0; c < classes_; ++c) {
    nlohmann::json row;
    for (int p = 0; p < classes_; ++p) row.push_back(count(c, p));
    json["confusion"].push_back(row);
  }
  return json;
}

}  // namespace nextgrad
