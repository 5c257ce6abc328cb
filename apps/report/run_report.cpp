#include "apps/report/run_report.h"

#include <algorithm>
#include <cmath>

#include "apps/report/progress.h"
#include "data/images/palette.h"
#include "data/images/resize.h"

namespace nextgrad {
namespace {

using nlohmann::json;

// A log may be of an older version, or have been edited: what it lacks is null.
const json& at(const json& record, const char* key) {
  static const json none;
  const auto found = record.is_object() ? record.find(key) : record.end();
  return found == record.end() ? none : *found;
}

double number(const json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::string percent(const json& value) {
  return std::isnan(number(value)) ? "none" : fmt::format("{:.2f} %", 100 * number(value));
}

// Photo as JPEG, maps as PNG, at most 480 pixels wide: the report stays a few hundred kilobytes.
Report::Picture show(const EvalResult::Picture& p, const Palette& palette) {
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

// The curves, and the last validation of the log (null: none).
const json& read_log(const std::vector<json>& log,
                     const std::vector<std::pair<const char*, const char*>>& scores, Report& r) {
  static const json none;
  const json* validation = &none;
  for (const auto& [key, name] : scores) r.scores.emplace_back(name, Report::Curve());
  for (const auto& record : log) {
    const double iteration = number(at(record, "iteration"));
    if (std::isnan(iteration)) continue;
    if (at(record, "skipped").is_string()) {
      r.settings.emplace_back("damaged, left out", at(record, "skipped").get<std::string>());
    } else if (const double loss = number(at(record, "loss")); !std::isnan(loss)) {
      r.loss.emplace_back(iteration, loss);
      r.learning_rate.emplace_back(iteration, number(at(record, "lr")));
    } else if (at(record, "validation").is_object()) {
      validation = &at(record, "validation");
      for (std::size_t i = 0; i < scores.size(); ++i)
        if (const double score = number(at(*validation, scores[i].first)); !std::isnan(score))
          r.scores[i].second.emplace_back(iteration, score);
    }
  }
  return *validation;
}

void add_best(const char* name, std::int64_t best_iteration, Report& r) {
  double best = 0;
  for (const auto& [iteration, score] : r.scores.front().second) best = std::max(best, score);
  r.summary.emplace_back(fmt::format("best {}, iteration {}", name, best_iteration), percent(best));
}

// One that is not a count for each pair of classes is left out.
void add_confusion(const json& scores, Report& r) {
  for (const auto& row : at(scores, "confusion"))
    for (const auto& count : row)
      r.confusion.push_back(count.is_number_integer() ? count.get<std::int64_t>() : 0);
  if (r.confusion.size() != r.classes.size() * r.classes.size()) r.confusion.clear();
}

// What the last iteration of the log says.
void add_progress(const std::vector<json>& log, std::int64_t iterations, Report& r) {
  for (auto record = log.rbegin(); record != log.rend(); ++record) {
    if (!at(*record, "loss").is_number()) continue;
    const auto of = [&](const char* key) { return number(at(*record, key)); };
    r.summary.emplace_back("iterations", fmt::format("{} of {}", of("iteration"), iterations));
    r.summary.emplace_back("training loss", fmt::format("{:.3f}", of("loss")));
    r.summary.emplace_back("images/s", fmt::format("{:.1f}", of("images_per_second")));
    r.summary.emplace_back("peak memory", format_bytes(of("peak_bytes")));
    return;
  }
}

void add_settings(const Settings& settings, Report& r) {
  for (const auto& s : settings) r.settings.emplace_back(s.key, s.str());
}

void add_segmentation(const json& scores, std::int64_t best_iteration, Report& r) {
  r.summary = {{"mIoU, last validation", percent(at(scores, "mIoU"))},
               {"mAcc", percent(at(scores, "mAcc"))},
               {"aAcc", percent(at(scores, "aAcc"))}};
  add_best("mIoU", best_iteration, r);
  for (const auto& c : at(scores, "classes")) {
    if (r.bars.size() == r.classes.size()) break;
    const double accuracy = number(at(c, "accuracy"));
    r.bars.push_back(
        {r.bars.size(), number(at(c, "iou")),
         std::isfinite(accuracy) ? fmt::format(" (acc {:.1f})", 100 * accuracy) : " (acc -)"});
  }
  add_confusion(scores, r);
}

void add_classification(const json& scores, std::int64_t best_iteration, Report& r) {
  r.summary = {{"top-1, last validation", percent(at(scores, "top1"))},
               {"top-5", percent(at(scores, "top5"))}};
  add_best("top-1", best_iteration, r);
  for (const auto& accuracy : at(scores, "accuracy"))
    if (r.bars.size() < r.classes.size()) r.bars.push_back({r.bars.size(), number(accuracy), ""});
  constexpr std::size_t kMost = 100;
  if (r.bars.size() > kMost) {
    std::stable_sort(r.bars.begin(), r.bars.end(),
                     [](const auto& a, const auto& b) { return a.value < b.value; });
    r.bars.resize(kMost / 2);
    r.bars_title = fmt::format("Accuracy per class: the {} lowest", kMost / 2);
  }
  add_confusion(scores, r);
}

}  // namespace

Report run_report(const TrainConfig& config, const ModelInfo& info, const std::vector<json>& log,
                  const std::vector<EvalResult::Picture>& pictures, std::int64_t iterations,
                  std::int64_t best_iteration) {
  Report r;
  r.title = fmt::format("SegNeXt {} on {}", config.variant, config.data);
  r.classes = info.classes;
  r.palette = info.palette;
  r.bars_title = "IoU per class";
  const json& scores = read_log(log, {{"mIoU", "mIoU"}}, r);
  if (!scores.is_null()) add_segmentation(scores, best_iteration, r);
  add_progress(log, iterations, r);
  for (const auto& p : pictures) r.pictures.push_back(show(p, info.palette));
  TrainConfig copy = config;
  add_settings(settings_of(copy), r);
  return r;
}

Report run_report(const PretrainConfig& config, const std::vector<std::string>& classes,
                  const std::vector<json>& log, const std::vector<ClassExample>& examples,
                  std::int64_t iterations, std::int64_t best_iteration) {
  Report r;
  r.title = fmt::format("MSCAN {} on {}", config.variant, config.data_root);
  r.command = "segnext pretrain";
  r.classes = classes;
  r.unit = "images";
  r.bars_title = "Accuracy per class";
  const json& scores = read_log(log, {{"top1", "top-1"}, {"top5", "top-5"}}, r);
  if (!scores.is_null()) add_classification(scores, best_iteration, r);
  add_progress(log, iterations, r);
  for (const auto& e : examples) {
    const bool right = e.label == e.prediction;
    const auto& said = classes[static_cast<std::size_t>(e.prediction)];
    const auto& truth = classes[static_cast<std::size_t>(e.label)];
    r.examples.push_back(
        {data_uri("jpeg", encode_jpeg(e.image, 85)),
         fmt::format("{} {:.0f} %{}", said, 100 * e.confidence, right ? "" : ", is " + truth),
         right});
  }
  PretrainConfig copy = config;
  add_settings(settings_of(copy), r);
  return r;
}

}  // namespace nextgrad
