#include "data/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/text.h"
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

std::string percent(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.2f}", 100 * value);
}

nlohmann::json or_null(double value) {
  return std::isnan(value) ? nlohmann::json() : nlohmann::json(value);
}

std::int64_t row_sum(const ConfusionMatrix& matrix, int label) {
  std::int64_t sum = 0;
  for (int p = 0; p < matrix.classes(); ++p) sum += matrix.count(label, p);
  return sum;
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

std::int64_t ConfusionMatrix::total() const {
  std::int64_t sum = 0;
  for (const std::int64_t c : counts_) sum += c;
  return sum;
}

Scores ConfusionMatrix::scores() const {
  Scores s{};
  std::int64_t correct = 0;
  for (int k = 0; k < classes_; ++k) {
    const std::int64_t hit = count(k, k), labelled = row_sum(*this, k);
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

std::string scores_table(const ConfusionMatrix& matrix, const std::vector<std::string>& names) {
  check(names.size() == static_cast<std::size_t>(matrix.classes()),
        "scores_table: {} names for {} classes", names.size(), matrix.classes());
  const Scores s = matrix.scores();
  std::size_t width = 5;
  for (const std::string& name : names) width = std::max(width, width_of(printable(name)));
  std::string text =
      fmt::format("{:<{}}  {:>6}  {:>6}  {:>7}\n", "class", width, "IoU", "Acc", "share");
  for (int k = 0; k < matrix.classes(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    const double share = ratio(row_sum(matrix, k), matrix.total());
    text +=
        fmt::format("{:<{}}  {:>6}  {:>6}  {:>7}\n", printable(names[i]), width, percent(s.iou[i]),
                    percent(s.accuracy[i]), percent(share) + (std::isnan(share) ? "" : "%"));
  }
  return text + fmt::format("mIoU {}  mAcc {}  aAcc {}\n", percent(s.mean_iou),
                            percent(s.mean_accuracy), percent(s.all_accuracy));
}

nlohmann::json scores_json(const ConfusionMatrix& matrix, const std::vector<std::string>& names) {
  check(names.size() == static_cast<std::size_t>(matrix.classes()),
        "scores_json: {} names for {} classes", names.size(), matrix.classes());
  const Scores s = matrix.scores();
  nlohmann::json out{{"mIoU", or_null(s.mean_iou)},        {"mAcc", or_null(s.mean_accuracy)},
                     {"aAcc", or_null(s.all_accuracy)},    {"pixels", matrix.total()},
                     {"classes", nlohmann::json::array()}, {"confusion", nlohmann::json::array()}};
  for (int k = 0; k < matrix.classes(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    out["classes"].push_back({{"name", names[i]},
                              {"iou", or_null(s.iou[i])},
                              {"accuracy", or_null(s.accuracy[i])},
                              {"pixels", row_sum(matrix, k)}});
    nlohmann::json row = nlohmann::json::array();
    for (int p = 0; p < matrix.classes(); ++p) row.push_back(matrix.count(k, p));
    out["confusion"].push_back(std::move(row));
  }
  return out;
}

}  // namespace nextgrad
