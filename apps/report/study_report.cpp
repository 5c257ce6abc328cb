#include "apps/report/study_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/report/page.h"
#include "apps/report/progress.h"
#include "apps/report/tables.h"

namespace nextgrad {
namespace {

using nlohmann::json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double number(const json& value) {
  return value.is_null() ? kNone : value.get<double>();
}

template <class Value>
double mean_of(const std::vector<const StudyRun*>& runs, const Value& value) {
  double sum = 0;
  for (const StudyRun* r : runs) sum += value(*r);
  return runs.empty() ? kNone : sum / static_cast<double>(runs.size());
}

// Of values by their seeds; the spread is the standard deviation, NaN of one value.
std::pair<double, double> mean_and_spread(const std::map<std::int64_t, double>& values) {
  const double n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const auto& [seed, value] : values) sum += value;
  for (const auto& [seed, value] : values) squares += (value - sum / n) * (value - sum / n);
  return {n > 0 ? sum / n : kNone, n > 1 ? std::sqrt(squares / (n - 1)) : kNone};
}

// Of what both have runs of the same seeds for, its mean and spread; without such, of their means.
std::pair<double, double> difference(const StudyRow& a, const StudyRow& b) {
  std::map<std::int64_t, double> of_seed;
  for (const auto& [seed, miou] : a.miou_of_seed)
    if (const auto other = b.miou_of_seed.find(seed); other != b.miou_of_seed.end())
      of_seed[seed] = miou - other->second;
  return of_seed.empty() ? std::pair(a.miou - b.miou, kNone) : mean_and_spread(of_seed);
}

std::string shown(double value, int digits, double scale = 1) {
  return std::isfinite(value) ? format_decimals(value / scale, digits) : "-";
}
std::string count(double value) {
  return std::isfinite(value) ? fmt::format("{:.4g}", value) : "-";
}
std::string of_paper(double value, int digits = 1) {
  return value > 0 ? format_decimals(value, digits) : "-";
}

// The table, its first row the titles.
std::vector<std::vector<std::string>> cells(const Study& study, const std::vector<StudyRow>& rows) {
  std::vector<std::vector<std::string>> table = {
      {"variant", "parameters (M)", "paper",
       fmt::format("multiply-adds (G, {})", study.time_size.str()), "paper", "training memory",
       fmt::format("ms ({})", study.time_size.str()), "runs", "mIoU", "aAcc", "paper's mIoU",
       "multi-scale"}};
  for (const StudyRow& r : rows) {
    const auto& paper = r.variant->paper;
    std::string miou = shown(r.miou, 2, 0.01);
    if (std::isfinite(r.spread)) miou += fmt::format(" ± {}", shown(r.spread, 2, 0.01));
    table.push_back({r.variant->name, count(r.parameters / 1e6), of_paper(paper.parameters),
                     count(r.multiply_adds / 1e9), of_paper(paper.multiply_adds),
                     std::isfinite(r.peak_bytes) ? format_bytes(r.peak_bytes) : "-",
                     shown(r.milliseconds, 1), fmt::format("{}", r.miou_of_seed.size()), miou,
                     shown(r.all_accuracy, 2, 0.01), of_paper(paper.miou),
                     of_paper(paper.miou_multi_scale)});
  }
  return table;
}

std::string pairs_text(const StudyOrders::Pairs& pairs) {
  std::vector<std::string> texts;
  for (const auto& [better, other] : pairs) texts.push_back(better + " over " + other);
  return fmt::format("{}", fmt::join(texts, ", "));
}

// "Of the paper's 15 orders of two variants 9 hold, 2 do not (a over b, ...), 4 ..."
std::string orders_text(const StudyOrders& o) {
  const std::size_t all = o.agree.size() + o.disagree.size() + o.within.size();
  if (all == 0) return "No two variants yet whose order the paper tells.";
  std::string text = fmt::format("Of the paper's {} orders of two variants {} hold, {} do not", all,
                                 o.agree.size(), o.disagree.size());
  if (!o.disagree.empty()) text += fmt::format(" ({})", pairs_text(o.disagree));
  text += fmt::format(", {} are within the spread of the seeds", o.within.size());
  if (!o.within.empty()) text += fmt::format(" ({})", pairs_text(o.within));
  return text + ".";
}

// Hues as far apart as so many can be.
std::string colour_of(std::size_t index, std::size_t count) {
  return fmt::format(
      "hsl({:.0f} 65% 50%)",
      std::fmod(215.0 + 360.0 * static_cast<double>(index) / static_cast<double>(count), 360.0));
}

std::string html_table(const std::vector<std::vector<std::string>>& table) {
  std::string out;
  for (std::size_t i = 0; i < table.size(); ++i) {
    out += "<tr>";
    for (const std::string& cell : table[i])
      out += fmt::format("<{0}>{1}</{0}>", i == 0 ? "th" : "td", escape(cell));
    out += "</tr>";
  }
  return fmt::format(R"(<div class="wide"><table class="figures">{}</table></div>)", out);
}

std::string scatters(const Study& study, const std::vector<StudyRow>& rows) {
  std::vector<Dot> adds, times;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const StudyRow& r = rows[i];
    if (!std::isfinite(r.miou)) continue;
    const std::string colour = colour_of(i, rows.size());
    adds.push_back({r.variant->name, r.multiply_adds / 1e9, 100 * r.miou, colour});
    times.push_back({r.variant->name, r.milliseconds, 100 * r.miou, colour});
  }
  const std::string size = study.time_size.str();
  return scatter("mIoU and multiply-adds", fmt::format("multiply-adds (G, {})", size), adds) +
         scatter("mIoU and time", fmt::format("milliseconds of a prediction ({})", size), times);
}

std::string curves(const Study& study, const std::vector<StudyShown::Curves>& runs) {
  std::vector<Line> miou, loss;
  std::vector<bool> named(study.variants.size());
  for (const auto& run : runs) {  // of a variant's runs one is in the legend
    const std::string name = named[run.variant] ? "" : study.variants[run.variant].name;
    const std::string colour = colour_of(run.variant, study.variants.size());
    named[run.variant] = true;
    miou.push_back({name, run.miou, colour});
    loss.push_back({name, thin_out(run.loss, 80), colour});
  }
  return chart("Validation mIoU, each run", miou, true) +
         chart("Training loss, each run", loss, false);
}

std::string pictures(const StudyShown& shown) {
  std::string out = class_key(shown.classes, shown.palette);
  for (const auto& p : shown.pictures) {
    out += fmt::format(
        R"html(<div class="shots" style="grid-template-columns:repeat({},1fr)">{}{})html",
        std::min<std::size_t>(p.predictions.size() + 2, 6), figure(p.photo, p.name),
        figure(p.truth, "truth"));
    for (const auto& [name, uri] : p.predictions) out += figure(uri, name);
    out += "</div>";
  }
  return card("Where the variants disagree most", out);
}

}  // namespace

std::vector<StudyRun> study_runs(const json& from) {
  std::vector<StudyRun> runs;
  for (const json& r : from.at("runs"))
    runs.push_back({.variant = r.at("variant"),
                    .seed = r.at("seed"),
                    .miou = number(r.at("mIoU")),
                    .mean_accuracy = number(r.at("mAcc")),
                    .all_accuracy = number(r.at("aAcc")),
                    .peak_bytes = number(r.at("peak_bytes")),
                    .milliseconds = number(r.at("milliseconds")),
                    .parameters = number(r.at("parameters")),
                    .multiply_adds = number(r.at("multiply_adds")),
                    .settings = r.at("settings")});
  return runs;
}

json study_json(const Study& study, const std::vector<StudyRun>& runs) {
  const auto rows = study_rows(study, runs);
  json out{{"study", study.name},
           {"title", study.title},
           {"question", study.question},
           {"budget", study.budget},
           {"time_size", study.time_size.str()},
           {"variants", json::array()},
           {"runs", json::array()}};
  for (const StudyRow& r : rows) {
    const auto& paper = r.variant->paper;
    out["variants"].push_back({{"name", r.variant->name},
                               {"runs", r.miou_of_seed.size()},
                               {"mIoU", or_null(r.miou)},
                               {"spread", or_null(r.spread)},
                               {"aAcc", or_null(r.all_accuracy)},
                               {"paper",
                                {{"parameters", paper.parameters},
                                 {"multiply-adds", paper.multiply_adds},
                                 {"miou", paper.miou},
                                 {"miou-ms", paper.miou_multi_scale},
                                 {"top-1", paper.top1}}}});
  }
  for (const StudyRun& r : runs)
    out["runs"].push_back({{"variant", r.variant},
                           {"seed", r.seed},
                           {"mIoU", or_null(r.miou)},
                           {"mAcc", or_null(r.mean_accuracy)},
                           {"aAcc", or_null(r.all_accuracy)},
                           {"peak_bytes", or_null(r.peak_bytes)},
                           {"milliseconds", or_null(r.milliseconds)},
                           {"parameters", r.parameters},
                           {"multiply_adds", r.multiply_adds},
                           {"settings", r.settings}});
  const StudyOrders orders = study_orders(rows);
  out["orders"] = {
      {"agree", orders.agree}, {"disagree", orders.disagree}, {"within", orders.within}};
  return out;
}

std::vector<StudyRow> study_rows(const Study& study, const std::vector<StudyRun>& all) {
  std::vector<StudyRow> rows;
  for (const StudyVariant& v : study.variants) {
    std::vector<const StudyRun*> runs;
    std::map<std::int64_t, double> miou_of_seed;
    for (const StudyRun& r : all)
      if (r.variant == v.name) {
        runs.push_back(&r);
        miou_of_seed[r.seed] = r.miou;
      }
    const auto mean = [&](double StudyRun::*value) {
      return mean_of(runs, [&](const StudyRun& r) { return r.*value; });
    };
    const auto [miou, spread] = mean_and_spread(miou_of_seed);
    rows.push_back({.variant = &v,
                    .miou_of_seed = miou_of_seed,
                    .miou = miou,
                    .spread = spread,
                    .all_accuracy = mean(&StudyRun::all_accuracy),
                    .peak_bytes = mean(&StudyRun::peak_bytes),
                    .milliseconds = mean(&StudyRun::milliseconds),
                    .parameters = mean(&StudyRun::parameters),
                    .multiply_adds = mean(&StudyRun::multiply_adds)});
  }
  return rows;
}

StudyOrders study_orders(const std::vector<StudyRow>& rows) {
  StudyOrders orders;
  const auto paper = [](const StudyRow& r) { return r.variant->paper.miou; };
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = i + 1; j < rows.size(); ++j) {
      const bool first = paper(rows[i]) > paper(rows[j]);
      const StudyRow &better = rows[first ? i : j], &other = rows[first ? j : i];
      const auto [ours, spread] = difference(better, other);
      if (paper(other) <= 0 || paper(better) == paper(other) || !std::isfinite(ours)) continue;
      auto& pairs = std::isfinite(spread) && std::abs(ours) <= spread ? orders.within
                    : ours > 0                                        ? orders.agree
                                                                      : orders.disagree;
      pairs.emplace_back(better.variant->name, other.variant->name);
    }
  return orders;
}

std::string study_markdown(const Study& study, const std::vector<StudyRow>& rows) {
  std::string text = fmt::format("# {}\n\n", study.title.empty() ? study.name : study.title);
  if (!study.question.empty()) text += study.question + "\n\n";
  const auto table = cells(study, rows);
  for (std::size_t i = 0; i < table.size(); ++i) {
    text += fmt::format("| {} |\n", fmt::join(table[i], " | "));
    if (i > 0) continue;
    for (std::size_t c = 0; c < table[0].size(); ++c) text += c == 0 ? "| ---" : " | ---:";
    text += " |\n";
  }
  return text + "\n" + orders_text(study_orders(rows)) + "\n";
}

std::string study_page(const Study& study, const std::vector<StudyRow>& rows,
                       const StudyShown& shown) {
  std::string out = card(study.question.empty() ? "Results" : study.question,
                         html_table(cells(study, rows)) +
                             fmt::format("<p>{}</p>", escape(orders_text(study_orders(rows)))));
  out += fmt::format(R"(<div class="two">{}{}</div>)", scatters(study, rows),
                     curves(study, shown.curves));
  if (!shown.pictures.empty()) out += pictures(shown);
  return page(study.title.empty() ? study.name : study.title, "segnext study", out);
}

}  // namespace nextgrad
