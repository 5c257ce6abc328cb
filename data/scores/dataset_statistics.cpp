#include "data/scores/dataset_statistics.h"

#include <algorithm>
#include <numeric>

#include "tensor/error.h"

namespace nextgrad {

SampleStatistics measure(const Dataset& dataset, std::int64_t i) {
  SampleStatistics s;
  try {
    const Sample sample = dataset.load(i);
    s.height = sample.image.height;
    s.width = sample.image.width;
    for (const std::uint8_t v : sample.label.values) ++s.pixels[v];
  } catch (const InputError& e) {
    s.problem = e.what();
  }
  return s;
}

DatasetStatistics::DatasetStatistics(int classes)
    : pixels_(static_cast<std::size_t>(classes)), images_(static_cast<std::size_t>(classes)) {}

void DatasetStatistics::add(const SampleStatistics& sample) {
  if (!sample.problem.empty()) return problems_.push_back(sample.problem);
  sizes_.emplace_back(sample.height, sample.width);
  for (std::size_t k = 0; k < pixels_.size(); ++k) {
    pixels_[k] += sample.pixels[k];
    images_[k] += sample.pixels[k] > 0;
  }
  ignored_ += sample.pixels[kIgnoreLabel];
}

std::int64_t DatasetStatistics::labelled() const {
  return std::accumulate(pixels_.begin(), pixels_.end(), std::int64_t{0});
}

std::vector<int> DatasetStatistics::absent() const {
  std::vector<int> classes;
  for (std::size_t k = 0; k < pixels_.size(); ++k)
    if (images_[k] == 0) classes.push_back(static_cast<int>(k));
  return classes;
}

std::array<std::pair<std::int64_t, std::int64_t>, 3> DatasetStatistics::sizes() const {
  check(!sizes_.empty(), "statistics: no picture was read");
  auto sorted = sizes_;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first * a.second, a.first) < std::pair(b.first * b.second, b.first);
  });
  return {sorted.front(), sorted[sorted.size() / 2], sorted.back()};
}

}  // namespace nextgrad
