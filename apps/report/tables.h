// What was counted, for the terminal and as JSON; and what a model costs.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/scores/dataset_statistics.h"
#include "data/scores/metrics.h"
#include "models/segmenter.h"

namespace nextgrad {

// A number, or null for what is none.
inline nlohmann::json or_null(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

// A table for the terminal: class, IoU, accuracy, share of pixels; then mIoU, mAcc, aAcc (percent).
std::string scores_table(const ConfusionMatrix& matrix, const std::vector<std::string>& names);

// {"mIoU", "mAcc", "aAcc", "pixels", "classes": [{"name", "iou", "accuracy", "pixels"}],
// "confusion": [[...]]}; fractions in 0..1, null where absent, rows = labels.
nlohmann::json scores_json(const ConfusionMatrix& matrix, const std::vector<std::string>& names);

// {"top1", "top5", "images", "accuracy": [a number or null per class]} and, of at most 100
// classes, "confusion": [[...]], rows = labels.
nlohmann::json scores_json(const ClassScores& scores);

// A table of the classes: index, name, share of the labelled pixels with a bar, share of the
// images. With `blocks`, each line begins with a block in the class's colour (for terminals).
std::string frequency_table(const DatasetStatistics& statistics, const Dataset& dataset,
                            bool blocks);

// {"read", "ignored", "labelled", "sizes": {"smallest": [height, width], "median", "largest"} or
// null, "classes": [{"name", "color", "pixels", "images"}], "problems": [...]}.
nlohmann::json statistics_json(const DatasetStatistics& statistics, const Dataset& dataset);

// What each stage of a model costs on one image height x width, lines ended by '\n', with the
// paper's figures beside.
std::string cost_table(const ModelConfig& config, std::int64_t height, std::int64_t width);

}  // namespace nextgrad
