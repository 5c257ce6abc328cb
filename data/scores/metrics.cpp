#include "data/scores/metrics.h"

#include <cmath>
#include <limits>

#include "tensor/error.h"

namespace nextgrad {
namespace {

double ratio(std::int64_t a, std::int64_t b) {
  return b == 0 ? std::numeric_limits<double>::quiet_NaN()
                : static_cast<double>(a) / static_cast<double>(b);
}

double nan_mean(const std::vector<double>& values) {
  double sum = 0;
  std::int64_t n = 0;
  for (const double v : values)
    if (!std::isnan(v)) sum += v, ++n;
  return n == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(n);
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(int classes) : classes_(classes) {
  check(classes >= 1, "ConfusionMatrix: {} classes", classes);
  reset();
}

void ConfusionMatrix::reset() {
  counts_.assign(static_cast<std::size_t>(classes_) * static_cast<std::size_t>(classes_), 0);
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

void ConfusionMatrix::add(const LabelMap& label, std::span<const std::int32_t> prediction) {
  const std::vector<std::int32_t> wide(label.values.begin(), label.values.end());
  add(wide, prediction, kIgnoreLabel);
}

void ConfusionMatrix::merge(const ConfusionMatrix& other) {
  check(classes_ == other.classes_, "ConfusionMatrix: merge of {} and {} classes", classes_,
        other.classes_);
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
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
  std::int64_t sum = 0;
  for (const std::int64_t c : counts_) sum += c;
  return sum;
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

}  // namespace nextgrad
