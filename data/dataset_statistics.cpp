#include "data/dataset_statistics.h"

#include <algorithm>

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
  std::int64_t sum = 0;
  for (const std::int64_t n : pixels_) sum += n;
  return sum;
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

std::string frequency_table(const DatasetStatistics& statistics, const Dataset& dataset,
                            bool blocks) {
  std::size_t width = 5;
  std::int64_t most = 1;
  std::vector<std::string> names;
  for (int k = 0; k < dataset.num_classes(); ++k) {
    names.push_back(printable(dataset.classes()[static_cast<std::size_t>(k)]));
    width = std::max(width, names.back().size());
    most = std::max(most, statistics.pixels(k));
  }
  constexpr std::int64_t kBar = 24;
  const std::string margin = blocks ? "   " : "";
  const auto share = [](std::int64_t part, std::int64_t whole) {
    return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  };
  std::string text = fmt::format("{}{:>3}  {:<{}}  {:>7}  {:<{}}  {:>7}\n", margin, "", "class",
                                 width, "pixels", "", kBar, "images");
  for (int k = 0; k < dataset.num_classes(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    const Color& c = dataset.palette()[i];
    const std::int64_t n = statistics.pixels(k);
    const std::int64_t bar = n > 0 ? std::max<std::int64_t>(1, n * kBar / most) : 0;
    text += fmt::format(
        "{}{:>3}  {:<{}}  {:>6.2f}%  {:<{}}  {:>6.1f}%\n",
        blocks ? fmt::format("\x1b[48;2;{};{};{}m  \x1b[0m ", c[0], c[1], c[2]) : "", k, names[i],
        width, share(n, statistics.labelled()), std::string(static_cast<std::size_t>(bar), '#'),
        kBar, share(statistics.images(k), statistics.read()));
  }
  return text;
}

nlohmann::json statistics_json(const DatasetStatistics& statistics, const Dataset& dataset) {
  nlohmann::json out{{"read", statistics.read()},          {"ignored", statistics.ignored()},
                     {"labelled", statistics.labelled()},  {"sizes", nullptr},
                     {"classes", nlohmann::json::array()}, {"problems", statistics.problems()}};
  if (statistics.read() > 0) {
    const auto sizes = statistics.sizes();
    const auto pair = [](const auto& s) { return nlohmann::json::array({s.first, s.second}); };
    out["sizes"] = {
        {"smallest", pair(sizes[0])}, {"median", pair(sizes[1])}, {"largest", pair(sizes[2])}};
  }
  for (int k = 0; k < dataset.num_classes(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    out["classes"].push_back({{"name", dataset.classes()[i]},
                              {"color", dataset.palette()[i]},
                              {"pixels", statistics.pixels(k)},
                              {"images", statistics.images(k)}});
  }
  return out;
}

}  // namespace nextgrad
