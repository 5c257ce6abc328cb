#include "data/scores/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tensor/error.h"

namespace nextgrad {
namespace {

double ratio(std::int64_t a, std::int64_t b) {
  return b == 0 ? std::numeric_limits<double>::quiet_NaN()
                : static_cast<double>(a) / static_cast<double>(b);
}

double nan_mean(std::vector<double> values) {
  std::erase_if(values, [](double v) { return std::isnan(v); });
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(int classes) : classes_(classes) {
  check(classes >= 1, "ConfusionMatrix: {} classes", classes);
  counts_.resize(static_cast<std::size_t>(classes) * static_cast<std::size_t>(classes));
}

void ConfusionMatrix::add(std::span<const std::int32_t> label,
                          std::span<const std::int32_t> prediction, std::int32_t ignore) {
  check(label.size() == prediction.size(), "ConfusionMatrix: {} labels, {} predictions",
        label.size(), prediction.size());
  const auto n = static_cast<std::uint32_t>(classes_);
  for (std::size_t i = 0; i < label.size(); ++i) {
    if (label[i] == ignore) continue;
    check(static_cast<std::uint32_t>(label[i]) < n && static_cast<std::uint32_t>(prediction[i]) < n,
          "ConfusionMatrix: label {}, prediction {}, but {} classes", label[i], prediction[i],
          classes_);
  }
  for (std::size_t i = 0; i < label.size(); ++i)
    if (label[i] != ignore)
      ++counts_[static_cast<std::size_t>(label[i]) * n + static_cast<std::size_t>(prediction[i])];
}

void ConfusionMatrix::add(const LabelMap& label, const LabelMap& prediction) {
  const auto wide = [](const LabelMap& map) {
    return std::vector<std::int32_t>(map.values.begin(), map.values.end());
  };
  add(wide(label), wide(prediction));
}

void ConfusionMatrix::add_all(Communicator& everyone) {
  Tensor counts = Tensor::from(counts_, {std::ssize(counts_)});
  everyone.sum(counts);
  counts_ = counts.to_vector<std::int64_t>();
}

std::int64_t ConfusionMatrix::count(int label, int prediction) const {
  check(label >= 0 && label < classes_ && prediction >= 0 && prediction < classes_,
        "ConfusionMatrix: count({}, {}) of {} classes", label, prediction, classes_);
  return counts_[static_cast<std::size_t>(label * classes_ + prediction)];
}

std::int64_t ConfusionMatrix::labelled(int label) const {
  std::int64_t sum = 0;
  for (int p = 0; p < classes_; ++p) sum += count(label, p);
  return sum;
}

std::int64_t ConfusionMatrix::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), std::int64_t{0});
}

Scores ConfusionMatrix::scores() const {
  Scores s{};
  std::int64_t correct = 0;
  for (int k = 0; k < classes_; ++k) {
    const std::int64_t hit = count(k, k), labelled = this->labelled(k);
    std::int64_t predicted = 0;
    for (int l = 0; l < classes_; ++l) predicted += count(l, k);
    correct += hit;
    s.iou.push_back(ratio(hit, labelled + predicted - hit));
    s.accuracy.push_back(ratio(hit, labelled));
  }
  s.mean_iou = nan_mean(s.iou);
  s.mean_accuracy = nan_mean(s.accuracy);
  s.all_accuracy = ratio(correct, total());
  return s;
}

int rank_of(std::span<const float> scores, int label) {
  const auto mine = static_cast<std::size_t>(label);
  int rank = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const bool below = scores[j] < scores[mine] || (scores[j] == scores[mine] && j > mine);
    rank += j != mine && !below;
  }
  return rank;
}

std::vector<std::int32_t> ClassScores::add(const Tensor& logits,
                                           const std::vector<std::int32_t>& labels) {
  const auto n = static_cast<std::int64_t>(labels.size());
  check(logits.shape() == Shape{n, classes()}, "scores: logits {} for {} labels of {} classes",
        logits.shape().str(), n, classes());
  const auto values = logits.to_vector<float>();
  const auto width = static_cast<std::size_t>(classes());
  const auto row = [&](std::size_t i) { return std::span(values).subspan(i * width, width); };
  std::vector<std::int32_t> best;
  for (std::size_t i = 0; i < labels.size(); ++i)
    best.push_back(static_cast<std::int32_t>(std::ranges::max_element(row(i)) - row(i).begin()));
  matrix_.add(labels, best, std::numeric_limits<std::int32_t>::min());  // no picture is ignored
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const int rank = rank_of(row(i), labels[i]);
    right_ += rank == 0;
    in_five_ += rank < 5;
  }
  return best;
}

void ClassScores::add_all(Communicator& everyone) {
  matrix_.add_all(everyone);
  Tensor counts = Tensor::from(std::vector<std::int64_t>{right_, in_five_}, {2});
  everyone.sum(counts);
  const auto sums = counts.to_vector<std::int64_t>();
  right_ = sums[0];
  in_five_ = sums[1];
}

double ClassScores::top1() const {
  return ratio(right_, total());
}

double ClassScores::top5() const {
  return ratio(in_five_, total());
}

}  // namespace nextgrad
