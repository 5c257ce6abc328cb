#include "apps/training/label_survey.h"

#include <algorithm>
#include <numeric>

#include "apps/report/progress.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

struct Counts {
  std::vector<std::int64_t> pixels;  // of each class
  std::int64_t ignored = 0, read = 0, all = 0;

  std::vector<std::size_t> seen() const {
    std::vector<std::size_t> classes;
    for (std::size_t k = 0; k < pixels.size(); ++k)
      if (pixels[k] > 0) classes.push_back(k);
    return classes;
  }
  std::string scope() const {
    return read == all ? "" : fmt::format(" (in {} of {} label maps looked at)", read, all);
  }
};

// A step of about the golden section of n, and prime to it, visits all in an order that is spread
// evenly however soon it ends.
std::int64_t spread_step(std::int64_t n) {
  std::int64_t step = std::max<std::int64_t>(1, n * 382 / 1000);
  while (std::gcd(step, n) != 1) ++step;
  return step;
}

Counts look(const Dataset& dataset, const std::string& split, const LabelSurvey& options) {
  const std::int64_t n = dataset.size(), step = n > 0 ? spread_step(n) : 1;
  Counts s{std::vector<std::int64_t>(dataset.classes().size()), 0, 0, n};
  const Stopwatch clock;
  ProgressLine progress(stdout, 0);
  for (std::int64_t i = 0, at = 0; i < n; ++i, at = (at + step) % n) {
    const std::size_t seen = s.seen().size();
    if (seen == s.pixels.size() || (seen > 0 && clock.seconds() > options.seconds)) break;
    try {
      const LabelMap map = dataset.load_label(at);
      std::array<std::int64_t, 256> counts{};
      for (const std::uint8_t v : map.values) ++counts[v];
      for (std::size_t k = 0; k < s.pixels.size(); ++k) s.pixels[k] += counts[k];
      s.ignored += counts[kIgnoreLabel];
      ++s.read;
    } catch (const InputError&) {
      if (!options.pass_damaged) throw;
      --s.all;
    }
    if (clock.seconds() > 1)
      progress.update(fmt::format("looking at the labels of {}: {} of {}", split, s.read, s.all));
  }
  return s;
}

std::string names(const std::vector<std::string>& classes, const std::vector<std::size_t>& seen) {
  std::string text;
  for (std::size_t k = 0; k < classes.size(); ++k)
    if (std::find(seen.begin(), seen.end(), k) == seen.end())
      text += (text.empty() ? "" : ", ") + printable(classes[k]);
  return text;
}

// What is ignored, and the line of TOML that makes a class of it.
std::string about_ignored(const Counts& s, const Dataset& dataset) {
  const std::vector<int> values = dataset.ignored_values();
  if (s.ignored == 0 || values.empty()) return {};
  const auto labelled = std::accumulate(s.pixels.begin(), s.pixels.end(), std::int64_t{0});
  std::string table;
  bool given = false;
  for (std::size_t k = 0; k < s.pixels.size(); ++k) {
    const bool here = s.pixels[k] == 0 && !given;
    given = given || here;
    table +=
        fmt::format("{}{} = \"{}\"", k > 0 ? ", " : "", here ? values.back() : static_cast<int>(k),
                    printable(dataset.classes()[k]));
  }
  return fmt::format(
      "; {:.0f} % of the pixels are ignored, as the value {} is: to make it a class, "
      "say in the data set's TOML what each value means: values = {{ {} }}",
      100.0 * static_cast<double>(s.ignored) / static_cast<double>(labelled + s.ignored),
      fmt::join(values, ", "), table);
}

}  // namespace

std::string survey_labels(const Dataset& dataset, const std::string& split,
                          const LabelSurvey& options) {
  const Counts s = look(dataset, split, options);
  const auto seen = s.seen();
  const std::string ignored = options.own_folder ? about_ignored(s, dataset) : "";
  if (seen.empty())
    fail_input("the labels of the split {} have no pixel of any class, all are ignored{}", split,
               ignored);
  if (seen.size() == s.pixels.size()) return {};
  const std::string absent = names(dataset.classes(), seen);
  if (options.learns && seen.size() == 1 && s.pixels.size() > 1)
    fail_input(
        "the labels of the split {} have only {}, and no pixel of {}{}: nothing can be "
        "learned{}",
        split, dataset.classes()[seen[0]], absent, s.scope(), ignored);
  return fmt::format("WARNING: the labels of the split {} have no pixel of {}{}{}", split, absent,
                     s.scope(), ignored);
}

std::string survey_labels(const ClassDataset& dataset, const std::string& split) {
  std::vector<std::size_t> seen;
  std::vector<bool> present(dataset.classes().size());
  for (std::int64_t i = 0; i < dataset.size(); ++i)
    present[static_cast<std::size_t>(dataset.label(i))] = true;
  for (std::size_t k = 0; k < present.size(); ++k)
    if (present[k]) seen.push_back(k);
  if (seen.size() == present.size()) return {};
  const std::string absent = names(dataset.classes(), seen);
  if (seen.size() < 2)
    fail_input(
        "the pictures of the split {} show one class at most, none shows {}: nothing can be "
        "learned",
        split, absent);
  return fmt::format("WARNING: no picture of the split {} shows {}", split, absent);
}

}  // namespace nextgrad
