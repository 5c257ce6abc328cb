#include "apps/report/tables.h"

#include <algorithm>
#include <cmath>

#include "data/files/text.h"
#include "models/cost.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

std::string percent(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.2f}", 100 * value);
}

nlohmann::json counts_json(const ConfusionMatrix& matrix) {
  std::vector<std::vector<std::int64_t>> rows(static_cast<std::size_t>(matrix.classes()));
  for (int k = 0; k < matrix.classes(); ++k)
    for (int p = 0; p < matrix.classes(); ++p)
      rows[static_cast<std::size_t>(k)].push_back(matrix.count(k, p));
  return rows;
}

}  // namespace

std::string scores_table(const ConfusionMatrix& matrix, const std::vector<std::string>& names) {
  check(names.size() == static_cast<std::size_t>(matrix.classes()),
        "scores_table: {} names for {} classes", names.size(), matrix.classes());
  const Scores s = matrix.scores();
  std::size_t width = 5;
  for (const std::string& name : names) width = std::max(width, width_of(printable(name)));
  std::string text =
      fmt::format("{:<{}}  {:>6}  {:>6}  {:>7}\n", "class", width, "IoU", "Acc", "share");
  for (int k = 0; k < matrix.classes(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    const double share =
        static_cast<double>(matrix.labelled(k)) / static_cast<double>(matrix.total());
    text +=
        fmt::format("{:<{}}  {:>6}  {:>6}  {:>7}\n", printable(names[i]), width, percent(s.iou[i]),
                    percent(s.accuracy[i]), percent(share) + (std::isnan(share) ? "" : "%"));
  }
  return text + fmt::format("mIoU {}  mAcc {}  aAcc {}\n", percent(s.mean_iou),
                            percent(s.mean_accuracy), percent(s.all_accuracy));
}

nlohmann::json scores_json(const ConfusionMatrix& matrix, const std::vector<std::string>& names) {
  check(names.size() == static_cast<std::size_t>(matrix.classes()),
        "scores_json: {} names for {} classes", names.size(), matrix.classes());
  const Scores s = matrix.scores();
  nlohmann::json out{{"mIoU", or_null(s.mean_iou)},        {"mAcc", or_null(s.mean_accuracy)},
                     {"aAcc", or_null(s.all_accuracy)},    {"pixels", matrix.total()},
                     {"classes", nlohmann::json::array()}, {"confusion", counts_json(matrix)}};
  for (int k = 0; k < matrix.classes(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    out["classes"].push_back({{"name", names[i]},
                              {"iou", or_null(s.iou[i])},
                              {"accuracy", or_null(s.accuracy[i])},
                              {"pixels", matrix.labelled(k)}});
  }
  return out;
}

nlohmann::json scores_json(const ClassScores& scores) {
  using nlohmann::json;
  json out{{"top1", or_null(scores.top1())},
           {"top5", or_null(scores.top5())},
           {"images", scores.total()}};
  for (const double accuracy : scores.matrix().scores().accuracy)
    out["accuracy"].push_back(or_null(accuracy));
  if (scores.classes() <= 100) out["confusion"] = counts_json(scores.matrix());
  return out;
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
    out["sizes"] = {{"smallest", sizes[0]}, {"median", sizes[1]}, {"largest", sizes[2]}};
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

std::string cost_table(const ModelConfig& config, std::int64_t height, std::int64_t width) {
  const ModelCost model = model_cost(config, height, width);
  const PaperFigures paper = paper_figures(config);
  const auto row = [](const std::string& name, double parameters, double multiply_adds,
                      const std::string& megabytes) {
    return fmt::format("{:<22}{:>14.3f}{:>18.3f}{:>18}\n", name, parameters / 1e6,
                       multiply_adds / 1e9, megabytes);
  };
  const auto stage_row = [&](const StageCost& s) {
    return row(s.name, static_cast<double>(s.parameters), static_cast<double>(s.multiply_adds),
               fmt::format("{:.1f}", static_cast<double>(s.activation_bytes) / 1e6));
  };
  std::string text = fmt::format("{} {}, {} classes, one image of {}x{}\n", family_of(config),
                                 config.variant, config.num_classes, height, width);
  text += fmt::format("{:<22}{:>14}{:>18}{:>18}\n", "", "parameters (M)", "multiply-adds (G)",
                      "activations (MB)");
  for (const StageCost& s : model.stages) text += stage_row(s);
  text += stage_row(model.total);
  if (paper.parameters > 0)
    text += row("paper (150, 512x512)", paper.parameters, paper.multiply_adds, "-");
  return text;
}

}  // namespace nextgrad
