#include "apps/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "apps/report/page.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// One curve with axes. `colour`: a name of the style's.
std::string one_curve(const std::string& title, const Report::Curve& curve, const char* colour,
                      bool percent) {
  return chart(title, {{"", curve, fmt::format("var({})", colour)}}, percent);
}

std::string class_bars(const Report& r) {
  std::string out;
  for (const auto& bar : r.bars) {
    const bool present = std::isfinite(bar.value);
    out += fmt::format(
        R"(<div class="bar"><div>{}</div><div class="track"><div style="width:{:.2f}%;)"
        R"html(background:var(--blue)"></div></div><div class="num">{}</div></div>)html",
        class_name(r.classes, r.palette, bar.label), present ? 100 * bar.value : 0.0,
        present ? fmt::format("{:.1f} %{}", 100 * bar.value, escape(bar.note)) : "absent");
  }
  return card(r.bars_title, out);
}

// Rows are truths, each normalised to 1; empty cells are left out.
std::string confusion_map(const Report& r) {
  const std::size_t k = r.classes.size();
  const double cell = std::clamp(560.0 / static_cast<double>(k), 3.0, 44.0);
  const bool lettered = cell >= 11;
  const double left = lettered ? 118 : 4, top = lettered ? 92 : 4,
               side = cell * static_cast<double>(k);
  std::string out = fmt::format(
      R"(<p>Row: truth. Column: prediction. Shade: share of the row's {2}, in percent.</p>)"
      R"(<div class="wide"><svg style="max-width:{0:.0f}px" viewBox="0 0 {0:.1f} {1:.1f}" )"
      R"(role="img" aria-label="confusion matrix">)",
      left + side + 4, top + side + 4, escape(r.unit));
  for (std::size_t i = 0; i < k; ++i) {
    const double y = top + cell * static_cast<double>(i),
                 middle = cell * (static_cast<double>(i) + 0.5);
    if (lettered)
      out += fmt::format(
          R"(<text x="{0}" y="{1:.1f}" text-anchor="end">{2}</text>)"
          R"html(<text transform="translate({3:.1f} {4}) rotate(-45)">{2}</text>)html",
          left - 8, top + middle + 4, escape(fmt::format("{:.16}", printable(r.classes[i]))),
          left + middle + 4, top - 8);
    const auto counts = std::span(r.confusion).subspan(i * k, k);
    const auto row =
        static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
    for (std::size_t j = 0; j < k; ++j) {
      if (counts[j] == 0) continue;
      const double share = static_cast<double>(counts[j]) / row;
      const double x = left + cell * static_cast<double>(j);
      out += fmt::format(
          R"html(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="var(--blue)" )html"
          R"(fill-opacity="{:.3f}"><title>{} as {}: {:.2f} % ({} {})</title></rect>)",
          x, y, cell - 0.5, cell - 0.5, 0.04 + 0.9 * std::sqrt(share), escape(r.classes[i]),
          escape(r.classes[j]), 100 * share, counts[j], escape(r.unit));
      if (cell >= 22 && share >= 0.005)
        out += fmt::format(
            R"(<text x="{:.1f}" y="{:.1f}" text-anchor="middle" style="fill:var(--ink);)"
            R"(font-size:{}px;pointer-events:none">{:.0f}</text>)",
            x + cell / 2, y + cell / 2 + 4, cell >= 30 ? 12 : 10, 100 * share);
    }
  }
  out += fmt::format(
      R"(<rect class="grid" x="{}" y="{}" width="{:.1f}" height="{:.1f}" fill="none"/></svg></div>)",
      left, top, side, side);
  return card("Confusion matrix", out);
}

std::string picture_rows(const Report& r) {
  std::string out = class_key(r.classes, r.palette);
  for (const auto& p : r.pictures)
    out += fmt::format(R"(<div class="shots">{}{}{}</div>)", figure(p.photo, p.name),
                       figure(p.truth, "truth"), figure(p.prediction, "prediction"));
  return card("Validation images", out);
}

// What was recognised, then what was not.
std::string example_grid(const Report& r) {
  std::string right, wrong;
  for (const auto& e : r.examples)
    (e.right ? right : wrong) += figure(e.photo, e.caption, e.right ? "right" : "wrong");
  return card(
      "Validation images, right and wrong",
      fmt::format(R"(<div class="examples">{}</div><div class="examples">{}</div>)", right, wrong));
}

}  // namespace

std::string render_report(const Report& r) {
  std::string out = R"(<div class="tiles">)";
  for (const auto& [caption, figure] : r.summary)
    out += fmt::format(R"(<div class="tile"><b>{}</b><span>{}</span></div>)", escape(figure),
                       escape(caption));
  out += R"(</div><div class="two">)" + one_curve("Training loss", r.loss, "--blue", false);
  for (const auto& [name, curve] : r.scores)
    out += one_curve("Validation " + name, curve, "--teal", true);
  out += "</div>";
  if (!r.bars.empty()) out += class_bars(r);
  if (!r.pictures.empty()) out += picture_rows(r);
  if (!r.examples.empty()) out += example_grid(r);
  if (!r.confusion.empty()) out += confusion_map(r);
  std::string settings;
  for (const auto& [key, value] : r.settings)
    settings += fmt::format("<tr><td>{}</td><td>{}</td></tr>", escape(key), escape(value));
  out += R"(<div class="two">)" + one_curve("Learning rate", r.learning_rate, "--amber", false) +
         card("Settings", "<table>" + settings + "</table>") + "</div>";
  return page(r.title, r.command, out);
}

std::string data_uri(const std::string& type, const std::vector<std::uint8_t>& bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = "data:image/" + type + ";base64,";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t j = 0; j < 3; ++j) word = word << 8 | (j < n ? bytes[i + j] : 0u);
    for (std::size_t j = 0; j < 4; ++j) out += j <= n ? kAlphabet[word >> (18 - 6 * j) & 63u] : '=';
  }
  return out;
}

Report::Curve thin_out(const Report::Curve& curve, std::size_t most) {
  if (curve.size() <= most) return curve;
  Report::Curve out;
  for (std::size_t i = 0; i < most; ++i) {
    const std::size_t begin = i * curve.size() / most, end = (i + 1) * curve.size() / most;
    double x = 0, y = 0;
    for (std::size_t j = begin; j < end; ++j) x += curve[j].first, y += curve[j].second;
    const double n = static_cast<double>(end - begin);
    out.emplace_back(x / n, y / n);
  }
  return out;
}

}  // namespace nextgrad
