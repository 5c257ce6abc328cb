// Reports of training runs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/report/progress.h"
#include "apps/report/report.h"
#include "data/images/palette.h"
#include "data/images/resize.h"

namespace nextgrad {
namespace {

using nlohmann::json;

const json kNone;

// A log may be of an older version, or have been edited: what it lacks is null.
const json& at(const json& record, const char* key) {
  const auto found = record.is_object() ? record.find(key) : record.end();
  return found == record.end() ? kNone : *found;
}

double number(const json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::string percent(const json& value) {
  return std::isnan(number(value)) ? "none" : fmt::format("{:.2f} %", 100 * number(value));
}

// A score of the validations: its key in the log, its name, whether its curve is drawn (as those
// before it are). The first is what the best weights are chosen by.
struct ScoreName {
  const char *key, *name;
  bool drawn;
};

// A bar for each class (of many the lowest), and the confusion matrix unless it is something else
// than a count for each pair of classes.
void add_classes(const json& validation, Report& r) {
  const auto add = [&](double value, const std::string& note) {
    if (r.bars.size() < r.classes.size()) r.bars.push_back({r.bars.size(), value, note});
  };
  for (const auto& c : at(validation, "classes")) {
    const double accuracy = number(at(c, "accuracy"));
    add(number(at(c, "iou")),
        std::isfinite(accuracy) ? fmt::format(" (acc {:.1f})", 100 * accuracy) : " (acc -)");
  }
  for (const auto& accuracy : at(validation, "accuracy")) add(number(accuracy), "");
  constexpr std::size_t kMost = 100;
  if (at(validation, "accuracy").size() > kMost && r.bars.size() > kMost) {
    std::stable_sort(r.bars.begin(), r.bars.end(),
                     [](const auto& a, const auto& b) { return a.value < b.value; });
    r.bars.resize(kMost / 2);
    r.bars_title = fmt::format("Accuracy per class: the {} lowest", kMost / 2);
  }
  for (const auto& row : at(validation, "confusion"))
    for (const auto& count : row)
      r.confusion.push_back(count.is_number_integer() ? count.get<std::int64_t>() : 0);
  if (r.confusion.size() != r.classes.size() * r.classes.size()) r.confusion.clear();
}

// Behind what is in `r` already the curves, what the last validation and the last iteration say,
// and the settings.
Report with_log(Report r, const std::vector<ScoreName>& scores, const std::vector<json>& log,
                std::int64_t iterations, std::int64_t best_iteration, const Settings& settings) {
  for (const auto& score : scores)
    if (score.drawn) r.scores.emplace_back(score.name, Report::Curve());
  const json *validation = &kNone, *last = &kNone, *ranks = &kNone;
  for (const auto& record : log) {
    const double iteration = number(at(record, "iteration")), loss = number(at(record, "loss"));
    if (!std::isnan(loss)) last = &record;
    if (std::isnan(iteration)) continue;
    if (at(record, "rank_images_per_second").is_array())
      ranks = &at(record, "rank_images_per_second");
    if (at(record, "skipped").is_string()) {
      r.settings.emplace_back("damaged, left out", at(record, "skipped").get<std::string>());
    } else if (!std::isnan(loss)) {
      r.loss.emplace_back(iteration, loss);
      r.learning_rate.emplace_back(iteration, number(at(record, "lr")));
    } else if (at(record, "validation").is_object()) {
      validation = &at(record, "validation");
      for (std::size_t i = 0; i < r.scores.size(); ++i)
        if (const double score = number(at(*validation, scores[i].key)); !std::isnan(score))
          r.scores[i].second.emplace_back(iteration, score);
    }
  }
  if (!validation->is_null()) {
    double best = 0;
    for (const auto& [iteration, score] : r.scores.front().second) best = std::max(best, score);
    for (const auto& [key, name, drawn] : scores)
      r.summary.emplace_back(name, percent(at(*validation, key)));
    r.summary.front().first += ", last validation";
    r.summary.emplace_back(fmt::format("best {}, iteration {}", scores[0].name, best_iteration),
                           percent(best));
    add_classes(*validation, r);
  }
  if (!last->is_null()) {
    const auto of = [&](const char* key) { return number(at(*last, key)); };
    r.summary.emplace_back("iterations", fmt::format("{} of {}", of("iteration"), iterations));
    r.summary.emplace_back("training loss", fmt::format("{:.3f}", of("loss")));
    r.summary.emplace_back("images/s", fmt::format("{:.1f}", of("images_per_second")));
    r.summary.emplace_back("peak memory", format_bytes(of("peak_bytes")));
  }
  if (ranks->is_array()) r.summary.emplace_back("processes", fmt::format("{}", ranks->size()));
  for (const auto& s : settings) r.settings.emplace_back(s.key, s.str());
  for (std::size_t i = 0; i < ranks->size(); ++i)
    r.settings.emplace_back(fmt::format("rank {}, if it waited for nobody", i),
                            fmt::format("{:.1f} of the images/s", number((*ranks)[i])));
  return r;
}

}  // namespace

// Photo as JPEG, maps as PNG, at most 480 pixels wide: the report stays a few hundred kilobytes.
Report::Picture report_picture(const EvalResult::Picture& p, const Palette& palette) {
  const auto& [sample, prediction] = p;
  const std::int64_t width = std::min<std::int64_t>(480, sample.label.width);
  const std::int64_t height = std::max<std::int64_t>(
      1, (sample.label.height * width + sample.label.width / 2) / sample.label.width);
  // Index PNGs would need a colour for 255 too: the ignored label is drawn by colorize, in black.
  const auto map = [&](const LabelMap& label) {
    return data_uri("png", encode_png(colorize(resize_nearest(label, height, width), palette)));
  };
  const auto photo = encode_jpeg(resize_bilinear(sample.image, height, width), 85);
  return {sample.name, data_uri("jpeg", photo), map(sample.label), map(prediction)};
}

Report run_report(const TrainConfig& config, const ModelInfo& info, const std::vector<json>& log,
                  const std::vector<EvalResult::Picture>& pictures, std::int64_t iterations,
                  std::int64_t best_iteration) {
  Report r;
  r.title = fmt::format("{} {} on {}", family_of(model_config(config, 1)), name_of(config), config.data);
  r.classes = info.classes;
  r.palette = info.palette;
  r.bars_title = "IoU per class";
  for (const auto& p : pictures) r.pictures.push_back(report_picture(p, info.palette));
  TrainConfig copy = config;
  return with_log(std::move(r),
                  {{"mIoU", "mIoU", true}, {"mAcc", "mAcc", false}, {"aAcc", "aAcc", false}}, log,
                  iterations, best_iteration, settings_of(copy));
}

Report run_report(const PretrainConfig& config, const ModelInfo& info, const std::vector<json>& log,
                  const std::vector<ClassExample>& examples, std::int64_t iterations,
                  std::int64_t best_iteration) {
  Report r;
  r.title = fmt::format("MSCAN {} on {}", name_of(config), config.data_root);
  r.command = "segnext pretrain";
  r.classes = info.classes;
  r.bars_title = "Accuracy per class";
  r.unit = "images";
  for (const auto& e : examples) {
    const bool right = e.label == e.prediction;
    const auto& said = r.classes[static_cast<std::size_t>(e.prediction)];
    const auto& truth = r.classes[static_cast<std::size_t>(e.label)];
    r.examples.push_back(
        {data_uri("jpeg", encode_jpeg(e.image, 85)),
         fmt::format("{} {:.0f} %{}", said, 100 * e.confidence, right ? "" : ", is " + truth),
         right});
  }
  PretrainConfig copy = config;
  return with_log(std::move(r), {{"top1", "top-1", true}, {"top5", "top-5", true}}, log, iterations,
                  best_iteration, settings_of(copy));
}

}  // namespace nextgrad
