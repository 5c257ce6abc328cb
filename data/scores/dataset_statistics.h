// What a data set holds: sizes, class frequencies, problems.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/datasets/dataset.h"

namespace nextgrad {

struct SampleStatistics {
  std::int64_t height = 0, width = 0;
  std::array<std::int64_t, 256> pixels{};  // of each label value
  std::string problem;                     // why it cannot be read; empty: all is well
};

// Reads sample i whole; a bad file becomes a `problem`, one line that names it.
SampleStatistics measure(const Dataset& dataset, std::int64_t i);

class DatasetStatistics {
 public:
  explicit DatasetStatistics(int classes);
  void add(const SampleStatistics& sample);

  std::int64_t read() const { return static_cast<std::int64_t>(sizes_.size()); }
  std::int64_t pixels(int k) const { return pixels_[static_cast<std::size_t>(k)]; }
  std::int64_t images(int k) const { return images_[static_cast<std::size_t>(k)]; }  // that have it
  std::int64_t labelled() const;                     // pixels that have a class
  std::int64_t ignored() const { return ignored_; }  // pixels that have none
  std::vector<int> absent() const;                   // classes that no image has
  const std::vector<std::string>& problems() const { return problems_; }
  // Smallest, median and largest picture, by pixels, as [height, width]. Throws Error if none was
  // read.
  std::array<std::pair<std::int64_t, std::int64_t>, 3> sizes() const;

 private:
  std::vector<std::int64_t> pixels_, images_;
  std::int64_t ignored_ = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> sizes_;
  std::vector<std::string> problems_;
};

}  // namespace nextgrad
