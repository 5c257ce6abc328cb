#include "apps/run_report.h"

#include <algorithm>

#include "apps/progress.h"
#include "data/palette.h"
#include "data/resize.h"

namespace nextgrad {
namespace {

using nlohmann::json;

double number(const json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::string percent(const json& value) {
  return fmt::format("{:.2f} %", 100 * number(value));
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

void add_validation(const json& scores, std::int64_t best_iteration, Report& r) {
  r.summary = {{"mIoU, last validation", percent(scores["mIoU"])},
               {"mAcc", percent(scores["mAcc"])},
               {"aAcc", percent(scores["aAcc"])}};
  double best = 0;
  for (const auto& [iteration, miou] : r.miou) best = std::max(best, miou);
  r.summary.emplace_back(fmt::format("best mIoU, iteration {}", best_iteration), percent(best));
  for (const auto& c : scores["classes"]) {
    r.iou.push_back(number(c["iou"]));
    r.accuracy.push_back(number(c["accuracy"]));
  }
  for (const auto& row : scores["confusion"])
    for (const auto& count : row) r.confusion.push_back(count.get<std::int64_t>());
}

}  // namespace

Report run_report(const TrainConfig& config, const ModelInfo& info, const std::vector<json>& log,
                  const std::vector<EvalResult::Picture>& pictures, std::int64_t best_iteration) {
  Report r;
  r.title = fmt::format("SegNeXt {} on {}", config.variant, config.data);
  r.classes = info.classes;
  r.palette = info.palette;
  const json* validation = nullptr;
  const json* last = nullptr;
  for (const auto& record : log) {
    const double iteration = number(record["iteration"]);
    if (record.contains("validation")) {
      validation = &record["validation"];
      r.miou.emplace_back(iteration, number((*validation)["mIoU"]));
    } else {
      last = &record;
      r.loss.emplace_back(iteration, number(record["loss"]));
      r.learning_rate.emplace_back(iteration, number(record["lr"]));
    }
  }
  std::erase_if(r.miou, [](const auto& point) { return std::isnan(point.second); });
  if (validation != nullptr) add_validation(*validation, best_iteration, r);
  if (last != nullptr) {
    r.summary.emplace_back(
        "iterations", fmt::format("{} of {}", number((*last)["iteration"]), config.iterations));
    r.summary.emplace_back("training loss", fmt::format("{:.3f}", number((*last)["loss"])));
    r.summary.emplace_back("images/s", fmt::format("{:.1f}", number((*last)["images_per_second"])));
    r.summary.emplace_back("peak memory", format_bytes(number((*last)["peak_bytes"])));
  }
  for (const auto& p : pictures) r.pictures.push_back(show(p, info.palette));
  TrainConfig copy = config;
  for (const auto& s : settings_of(copy)) r.settings.emplace_back(s.key, s.str());
  return r;
}

}  // namespace nextgrad
