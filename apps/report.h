// report.html of a run: one file that needs nothing else, neither files nor a network.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace nextgrad {

struct Report {
  using Curve = std::vector<std::pair<double, double>>;  // (iteration, value), in order
  struct Picture {
    std::string name, photo, truth, prediction;  // the last three as data: URIs
  };

  std::string title;
  std::vector<std::pair<std::string, std::string>> summary;   // the tiles on top: caption, figure
  std::vector<std::pair<std::string, std::string>> settings;  // the table at the end
  Curve loss, learning_rate, miou;                            // miou in 0..1
  std::vector<std::string> classes;
  std::vector<std::array<std::uint8_t, 3>> palette;  // one colour per class
  std::vector<double> iou, accuracy;                 // per class, NaN where absent
  std::vector<std::int64_t> confusion;               // [truth, prediction], pixels
  std::vector<Picture> pictures;
};

// The document.
std::string render_report(const Report& report);
// "data:image/png;base64,..."; `type` is png or jpeg.
std::string data_uri(const std::string& type, const std::vector<std::uint8_t>& bytes);
// At most `most` points, each the mean of its neighbours: a curve of 160,000 points stays readable.
Report::Curve thin_out(const Report::Curve& curve, std::size_t most);

}  // namespace nextgrad
