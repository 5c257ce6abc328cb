#include "apps/training/label_survey.h"

#include <algorithm>
#include <numeric>

#include "apps/report/progress.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr double kSeconds = 5;  // for reading

struct Counts {
  std::vector<std::int64_t> samples;  // pixels or pictures of each class
  std::int64_t ignored = 0, read = 0, all = 0;

  std::int64_t seen() const {
    return std::count_if(samples.begin(), samples.end(), [](std::int64_t n) { return n > 0; });
  }
  std::string names(const std::vector<std::string>& classes, bool seen) const {
    std::vector<std::string> names;
    for (std::size_t k = 0; k < classes.size(); ++k)
      if ((samples[k] > 0) == seen) names.push_back(printable(classes[k]));
    return fmt::format("{}", fmt::join(names, ", "));
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
    const std::int64_t seen = s.seen();
    if (seen == std::ssize(s.samples) || (seen > 0 && clock.seconds() > kSeconds)) break;
    try {
      std::array<std::int64_t, 256> counts{};
      for (const std::uint8_t v : dataset.load_label(at).values) ++counts[v];
      for (std::size_t k = 0; k < s.samples.size(); ++k) s.samples[k] += counts[k];
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

// What is ignored, and the line of TOML that makes a class of it.
std::string about_ignored(const Counts& s, const Dataset& dataset) {
  const std::vector<int> values = dataset.ignored_values();
  if (s.ignored == 0 || values.empty()) return {};
  const auto labelled = std::accumulate(s.samples.begin(), s.samples.end(), std::int64_t{0});
  const auto unseen = std::find(s.samples.begin(), s.samples.end(), 0) - s.samples.begin();
  std::vector<std::string> table;
  for (int k = 0; k < dataset.num_classes(); ++k)
    table.push_back(fmt::format("{} = \"{}\"", k == unseen ? values.back() : k,
                                printable(dataset.classes()[static_cast<std::size_t>(k)])));
  return fmt::format(
      "; {:.0f} % of the pixels are ignored, as the value {} is: to make it a class, "
      "say in the data set's TOML what each value means: values = {{ {} }}",
      100.0 * static_cast<double>(s.ignored) / static_cast<double>(labelled + s.ignored),
      fmt::join(values, ", "), fmt::join(table, ", "));
}

}  // namespace

std::string survey_labels(const Dataset& dataset, const std::string& split,
                          const LabelSurvey& options) {
  const Counts s = look(dataset, split, options);
  const std::string ignored = options.own_folder ? about_ignored(s, dataset) : "";
  if (s.seen() == 0)
    fail_input("the labels of the split {} have no pixel of any class, all are ignored{}", split,
               ignored);
  if (s.seen() == dataset.num_classes()) return {};
  const std::string absent = s.names(dataset.classes(), false);
  if (options.learns && s.seen() == 1)
    fail_input(
        "the labels of the split {} have only {}, and no pixel of {}{}: nothing can be "
        "learned{}",
        split, s.names(dataset.classes(), true), absent, s.scope(), ignored);
  return fmt::format("WARNING: the labels of the split {} have no pixel of {}{}{}", split, absent,
                     s.scope(), ignored);
}

std::string survey_labels(const ClassDataset& dataset, const std::string& split) {
  Counts s{std::vector<std::int64_t>(dataset.classes().size())};
  for (std::int64_t i = 0; i < dataset.size(); ++i)
    ++s.samples[static_cast<std::size_t>(dataset.load_label(i))];
  if (s.seen() == dataset.num_classes()) return {};
  const std::string absent = s.names(dataset.classes(), false);
  if (s.seen() < 2)
    fail_input(
        "the pictures of the split {} show one class at most, none shows {}: nothing can be "
        "learned",
        split, absent);
  return fmt::format("WARNING: no picture of the split {} shows {}", split, absent);
}

}  // namespace nextgrad
