// segnext data: a look at a data set before hours are spent on it.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <span>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/inference/pipeline.h"
#include "apps/report/contact_sheet.h"
#include "apps/report/progress.h"
#include "apps/report/tables.h"
#include "apps/settings/run_config.h"
#include "apps/training/signals.h"
#include "apps/training/train_task.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

struct InspectArguments {
  DatasetConfig data;
  std::string split = "train", out, json;
  std::int64_t count = 0;  // samples to read; 0: all
  ContactSheet sheet;
  TrainConfig augmentation;
  std::map<std::string, std::string> given;  // settings on the command line
};

// The settings that a contact sheet shows.
Settings augmentation_settings(TrainConfig& config) {
  Settings settings;
  for (Setting& s : settings_of(config))
    for (const char* key : {"crop", "base-size", "scale-min", "scale-max", "flip", "cat-max-ratio",
                            "photometric", "seed"})
      if (s.key == key) settings.push_back(std::move(s));
  return settings;
}

struct SplitCount {
  std::string name, missing;  // missing: why it cannot be opened
  std::int64_t images = 0;
  bool labels = true;
};

// How many images each split has. A split that is not there is a fact, not a problem.
std::vector<SplitCount> count_splits(const InspectArguments& a) {
  std::vector<SplitCount> counts;
  for (const std::string& split : dataset_splits(a.data)) {
    SplitCount c{split, "", 0, true};
    try {
      std::vector<std::string> ignored;
      const auto dataset = make_dataset(a.data, split, &ignored);
      c.images = dataset->size();
      c.labels = dataset->has_labels();
    } catch (const InputError& e) {
      c.missing = e.what();
    }
    counts.push_back(std::move(c));
  }
  return counts;
}

void print_splits(const InspectArguments& a, const std::vector<SplitCount>& splits) {
  fmt::print("{}{}{}\n", a.data.kind, a.data.root.empty() ? "" : " in ", printable(a.data.root));
  for (const SplitCount& s : splits)
    if (s.missing.empty())
      fmt::print("  {:<9} {:>7} images{}\n", printable(s.name), s.images,
                 s.labels ? "" : ", no labels");
    else
      fmt::print("  {:<9}       - {}\n", printable(s.name), printable(s.missing));
}

// Reads the samples beside each other; false if a signal ended it early.
bool read_samples(const InspectArguments& a, const Dataset& dataset, DatasetStatistics& result) {
  const std::int64_t n = a.count > 0 ? std::min(a.count, dataset.size()) : dataset.size();
  install_signal_handlers();
  const Stopwatch clock;
  ProgressLine line(stderr);
  Ahead<SampleStatistics> samples(
      n, [&](std::int64_t j) { return measure(dataset, j * dataset.size() / n); });
  for (std::int64_t j = 0; j < n; ++j) {
    result.add(samples.next());
    const double rate = static_cast<double>(j + 1) / clock.seconds();
    line.update(fmt::format("{} of {} images  {:.1f} images/s  {} left", j + 1, n, rate,
                            format_duration(static_cast<double>(n - j - 1) / rate)));
    if (stop_requested()) return j + 1 == n;
  }
  return true;
}

// Which values of the label files those are.
std::string ignored_values(const Dataset& dataset) {
  const std::vector<int> values = dataset.ignored_values();
  if (values.empty()) return "no label value is";
  const std::size_t shown = std::min<std::size_t>(values.size(), 8), others = values.size() - shown;
  return fmt::format("label {} {}{}", shown == 1 ? "value" : "values",
                     fmt::join(std::span(values).first(shown), ", "),
                     others > 0 ? fmt::format(" and {} others", others) : "");
}

void print_statistics(const DatasetStatistics& s, const Dataset& dataset) {
  if (s.read() == 0) return;
  const auto sizes = s.sizes();
  const auto size = [](const auto& p) { return fmt::format("{}x{}", p.second, p.first); };
  fmt::print("\n{} images read; sizes: smallest {}, median {}, largest {}\n", s.read(),
             size(sizes[0]), size(sizes[1]), size(sizes[2]));
  if (!dataset.has_labels()) return;
  const double all = static_cast<double>(s.labelled() + s.ignored());
  fmt::print("{:.2f} % of their pixels are ignored ({})\n\n{}",
             all > 0 ? 100 * static_cast<double>(s.ignored()) / all : 0.0, ignored_values(dataset),
             frequency_table(s, dataset, isatty(STDOUT_FILENO) != 0));
  std::vector<std::string> absent;
  for (const int k : s.absent())
    absent.push_back(printable(dataset.classes()[static_cast<std::size_t>(k)]));
  if (!absent.empty())
    fmt::print("\nWarning: {} {} of {} never occur in these {} images: {}\n", absent.size(),
               absent.size() == 1 ? "class" : "classes", dataset.num_classes(), s.read(),
               fmt::join(absent, ", "));
}

void write_inspection(const InspectArguments& a, const std::vector<SplitCount>& splits,
                      const DatasetStatistics& s, const Dataset& dataset,
                      const std::vector<std::string>& problems) {
  nlohmann::json json = statistics_json(s, dataset);
  json["data"] = a.data.kind;
  json["root"] = a.data.root;
  json["split"] = a.split;
  json["labels"] = dataset.has_labels();
  json["problems"] = problems;
  for (const SplitCount& c : splits)
    json["splits"][c.name] = c.missing.empty() ? nlohmann::json(c.images) : nlohmann::json();
  write_json(a.json, json);
}

void run_inspect(InspectArguments& a) {
  check_output(a.out);
  check_output(a.json);
  apply_options(a.given, augmentation_settings(a.augmentation));
  if (a.augmentation.transform.scale_min > a.augmentation.transform.scale_max)
    fail_input("--scale-min is above --scale-max; exchange them");
  const std::vector<SplitCount> splits = count_splits(a);
  std::vector<std::string> problems;
  const auto dataset = make_dataset(a.data, a.split, &problems);
  if (a.json != "-") print_splits(a, splits);
  DatasetStatistics statistics(dataset->num_classes());
  const bool whole = read_samples(a, *dataset, statistics);
  problems.insert(problems.end(), statistics.problems().begin(), statistics.problems().end());
  if (a.json != "-") print_statistics(statistics, *dataset);
  if (!a.json.empty()) write_inspection(a, splits, statistics, *dataset, problems);
  if (!whole && a.json != "-")
    fmt::print("Stopped early: these are the first {} images\n", statistics.read());
  if (!a.out.empty() && whole && statistics.read() > 0) {
    if (!dataset->has_labels())
      fail_input("--out: split {} has no labels to show; choose another --split", a.split);
    a.sheet.seed = static_cast<std::uint64_t>(a.augmentation.seed);
    write_png(a.out, contact_sheet(*dataset, train_transform(a.augmentation), a.sheet));
    if (a.json != "-") fmt::print("\nContact sheet: {}\n", printable(a.out));
  }
  std::fflush(stdout);
  for (const std::string& problem : problems)
    fmt::print(stderr, "problem: {}\n", printable(problem));
  if (!problems.empty())
    fail_input("{} {}: {} problem{} found, listed above", a.data.kind, a.split, problems.size(),
               problems.size() == 1 ? "" : "s");
}

}  // namespace

void data_command(Command root) {
  const Command app = root.subcommand(
      "data", "Look at a data set",
      "Example:\n  segnext data inspect --data voc --data-root VOCdevkit --out sheet.png");
  app.needs_subcommand();
  const Command inspect = app.subcommand(
      "inspect", "Count, measure and check a split; show augmented samples", help::data);
  auto a = std::make_shared<InspectArguments>();
  a->augmentation.crop = {256, 256};
  add_data(inspect, a->data, a->split);
  inspect.number("--count", a->count, 0, 100000000,
                 "read this many images, evenly spread; 0 = all");
  inspect.option("--out", a->out, "PNG of augmented samples: image, overlay, legend");
  inspect.number("--pictures", a->sheet.pictures, 1, 400, "samples on it");
  inspect.option("--json", a->json, "also write everything to this file; - = only that");
  inspect.settings(augmentation_settings(a->augmentation), a->given);
  app.does([a] { run_inspect(*a); });
}

}  // namespace nextgrad
