// What a study found: its results as JSON, as a table in Markdown, as a page.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "apps/report/report.h"
#include "apps/settings/study.h"

namespace nextgrad {

// A run that is complete.
struct StudyRun {
  std::string variant;
  std::int64_t seed = 0;
  double miou = 0, mean_accuracy = 0, all_accuracy = 0;  // last validation, 0..1; NaN: none
  double peak_bytes = 0;    // of tensors, in training and its checkpoints
  double milliseconds = 0;  // of one prediction, study.time_size
  double parameters = 0, multiply_adds = 0;
  std::string settings;  // all of the run, TOML
};
std::vector<StudyRun> study_runs(
    const nlohmann::json& json);  // of study.json; throws json::exception
nlohmann::json study_json(const Study& study, const std::vector<StudyRun>& runs);

// A variant's line: means over its runs, NaN where there is none.
struct StudyRow {
  const StudyVariant* variant;
  std::map<std::int64_t, double> miou_of_seed;
  double miou, spread, all_accuracy;  // spread: standard deviation, NaN of one run
  double peak_bytes, milliseconds, parameters, multiply_adds;
};
std::vector<StudyRow> study_rows(const Study& study, const std::vector<StudyRun>& runs);

// Of each two variants whose mIoU the paper tells and we have: is their order the same? Runs of one
// seed see the same pictures, so they are compared with each other.
struct StudyOrders {
  using Pairs = std::vector<std::pair<std::string, std::string>>;  // the paper's better one first
  // within: the mean difference is no larger than the spread of the seeds' differences.
  Pairs agree, disagree, within;
};
StudyOrders study_orders(const std::vector<StudyRow>& rows);

// What the page shows beside the table.
struct StudyShown {
  struct Curves {  // of a run
    std::size_t variant;
    Report::Curve miou, loss;
  };
  struct Picture {
    std::string name, photo, truth;                                // the last two as data: URIs
    std::vector<std::pair<std::string, std::string>> predictions;  // by variant, as data: URIs
  };
  std::vector<Curves> curves;
  std::vector<Picture> pictures;
  std::vector<std::string> classes;  // of the pictures, with their colours
  Palette palette;
};

std::string study_markdown(const Study& study, const std::vector<StudyRow>& rows);
std::string study_page(const Study& study, const std::vector<StudyRow>& rows,
                       const StudyShown& shown);

}  // namespace nextgrad
