// What a data set holds: sizes, class frequencies, problems.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "data/datasets/dataset.h"
#include "tensor/error.h"

namespace nextgrad {

struct SampleStatistics {
  std::int64_t height = 0, width = 0;
  std::array<std::int64_t, 256> pixels{};  // of each label value
  std::string problem;                     // why it cannot be read; empty: all is well
};

// Reads sample i whole; a bad file becomes a `problem`, one line that names it.
inline SampleStatistics measure(const Dataset& dataset, std::int64_t i) {
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

class DatasetStatistics {
 public:
  explicit DatasetStatistics(int classes)
      : pixels_(static_cast<std::size_t>(classes)), images_(pixels_.size()) {}
  void add(const SampleStatistics& sample) {
    if (!sample.problem.empty()) return problems_.push_back(sample.problem);
    sizes_.emplace_back(sample.height, sample.width);
    for (std::size_t k = 0; k < pixels_.size(); ++k) {
      pixels_[k] += sample.pixels[k];
      images_[k] += sample.pixels[k] > 0;
    }
    ignored_ += sample.pixels[kIgnoreLabel];
  }

  std::int64_t read() const { return std::ssize(sizes_); }
  std::int64_t pixels(int k) const { return pixels_[static_cast<std::size_t>(k)]; }
  std::int64_t images(int k) const { return images_[static_cast<std::size_t>(k)]; }  // that have it
  std::int64_t labelled() const {  // pixels that have a class
    return std::accumulate(pixels_.begin(), pixels_.end(), std::int64_t{0});
  }
  std::int64_t ignored() const { return ignored_; }  // pixels that have none
  std::vector<int> absent() const {                  // classes that no image has
    std::vector<int> classes;
    for (std::size_t k = 0; k < pixels_.size(); ++k)
      if (images_[k] == 0) classes.push_back(static_cast<int>(k));
    return classes;
  }
  const std::vector<std::string>& problems() const { return problems_; }
  // Smallest, median and largest picture, by pixels, as [height, width]. Throws Error if none was
  // read.
  std::array<std::pair<std::int64_t, std::int64_t>, 3> sizes() const {
    check(!sizes_.empty(), "statistics: no picture was read");
    auto sorted = sizes_;
    std::ranges::sort(sorted, {},
                      [](const auto& s) { return std::pair(s.first * s.second, s.first); });
    return {sorted.front(), sorted[sorted.size() / 2], sorted.back()};
  }

 private:
  std::vector<std::int64_t> pixels_, images_;
  std::int64_t ignored_ = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> sizes_;
  std::vector<std::string> problems_;
};

}  // namespace nextgrad
