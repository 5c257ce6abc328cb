// report.html of a run: one file that needs nothing else, neither files nor a network.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/settings/run_config.h"

namespace nextgrad {

struct Report {
  using Curve = std::vector<std::pair<double, double>>;  // (iteration, value), in order
  struct Picture {
    std::string name, photo, truth, prediction;  // the last three as data: URIs
  };
  struct Example {
    std::string photo, caption;  // photo as data: URI
    bool right = true;
  };

  std::string title, command = "segnext train";
  std::vector<std::pair<std::string, std::string>> summary;   // the tiles on top: caption, figure
  std::vector<std::pair<std::string, std::string>> settings;  // the table at the end
  Curve loss, learning_rate;
  std::vector<std::pair<std::string, Curve>> scores;  // validation, by name, in 0..1
  std::vector<std::string> classes;
  std::vector<std::array<std::uint8_t, 3>> palette;  // one colour per class, or none
  struct ClassBar {
    std::size_t label;  // index in classes
    double value;       // NaN: absent
    std::string note;   // beside the value
  };
  std::string bars_title;
  std::vector<ClassBar> bars;
  std::vector<std::int64_t> confusion;  // [truth, prediction], counted in `unit`
  std::string unit = "pixels";
  std::vector<Picture> pictures;
  std::vector<Example> examples;
};

// The document.
std::string render_report(const Report& report);
// "data:image/png;base64,..."; `type` is png or jpeg.
std::string data_uri(const std::string& type, const std::vector<std::uint8_t>& bytes);
// At most `most` points, each the mean of its neighbours: a curve of 160,000 points stays readable.
Report::Curve thin_out(const Report::Curve& curve, std::size_t most);

// A validation image, and what a model sees in it.
Report::Picture report_picture(const EvalResult::Picture& picture, const Palette& palette);

// --- of training runs, from their logs ---

// Of `segnext train`; `iterations` in all.
Report run_report(const TrainConfig& config, const ModelInfo& info,
                  const std::vector<nlohmann::json>& log,
                  const std::vector<EvalResult::Picture>& pictures, std::int64_t iterations,
                  std::int64_t best_iteration);

// Of `segnext pretrain`.
Report run_report(const PretrainConfig& config, const ModelInfo& info,
                  const std::vector<nlohmann::json>& log, const std::vector<ClassExample>& examples,
                  std::int64_t iterations, std::int64_t best_iteration);

}  // namespace nextgrad
