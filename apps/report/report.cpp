#include "apps/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <span>

#include "apps/report_style.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

std::string escape(const std::string& text) {
  static const std::map<char, std::string> kNames{
      {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}};
  std::string out;
  for (const char c : printable(text)) {
    const auto name = kNames.find(c);
    out += name == kNames.end() ? std::string(1, c) : name->second;
  }
  return out;
}

// One box of the page.
std::string card(const std::string& title, const std::string& body) {
  return fmt::format(R"(<div class="card"><h2>{}</h2>{}</div>)", escape(title), body);
}

std::string figure(const std::string& uri, const std::string& caption, const char* kind = "") {
  return fmt::format(
      R"(<figure class="{0}"><img src="{1}" alt="{2}"><figcaption>{2}</figcaption></figure>)", kind,
      uri, escape(caption));
}

// The class's name behind its colour, if it has one.
std::string named(const Report& r, std::size_t label) {
  const std::string name = escape(r.classes[label]);
  if (label >= r.palette.size()) return name;
  const auto& [red, green, blue] = r.palette[label];
  return fmt::format(R"(<i style="background:#{:02x}{:02x}{:02x}"></i>{})", red, green, blue, name);
}

// 1, 2 or 5 times a power of ten, so that about `steps` of them cover `span`.
double nice_step(double span, int steps) {
  const double raw = std::max(span, 1e-12) / steps;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double r = raw / power;
  return power * (r <= 1 ? 1 : r <= 2 ? 2 : r <= 5 ? 5 : 10);
}

// One curve with axes, as inline SVG. `percent`: values are shares.
std::string chart(const std::string& title, const Report::Curve& raw, const char* colour,
                  bool percent) {
  if (raw.empty()) return card(title, "<p>No values yet.</p>");
  const auto curve = thin_out(raw, 400);
  constexpr double kW = 520, kH = 260, kLeft = 52, kRight = 24, kTop = 10, kBottom = 30;
  double low = 0, high = 0;
  for (const auto& [x, y] : curve) high = std::max(high, y), low = std::min(low, y);
  if (percent) high = std::min(1.0, high * 1.1);
  const double y_step = nice_step(std::max(high - low, 1e-9), 5);
  high = std::max(std::ceil(high / y_step - 1e-9), 1.0) * y_step;
  const double x_end = std::max(raw.back().first, 1.0), x_step = nice_step(x_end, 6);
  const auto px = [&](double x) { return kLeft + (kW - kLeft - kRight) * x / x_end; };
  const auto py = [&](double y) {
    return kTop + (kH - kTop - kBottom) * (1 - (y - low) / (high - low));
  };
  std::string out =
      fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", kW, kH, escape(title));
  for (double y = low; y <= high + y_step * 1e-6; y += y_step)
    out += fmt::format(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)"
                       R"(<text x="{}" y="{:.1f}" text-anchor="end">{:.4g}{}</text>)",
                       kLeft, kW - kRight, py(y), py(y), kLeft - 8, py(y) + 4,
                       percent ? 100 * y : y, percent ? " %" : "");
  for (double x = 0; x <= x_end + x_step * 1e-6; x += x_step)
    out += fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="middle">{:.6g}</text>)", px(x),
                       kH - 8, x);
  out += fmt::format(R"html(<polyline class="curve" stroke="var({})" points=")html", colour);
  for (const auto& [x, y] : curve) out += fmt::format("{:.1f},{:.1f} ", px(x), py(y));
  out += R"("/>)";
  if (raw.size() <= 60)
    for (const auto& [x, y] : raw)
      out += fmt::format(
          R"html(<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="var({})"><title>{:.0f}: {:.4g}</title></circle>)html",
          px(x), py(y), colour, x, y);
  return card(title, out + "</svg>");
}

std::string class_bars(const Report& r) {
  std::string out;
  for (const auto& bar : r.bars) {
    const bool present = std::isfinite(bar.value);
    out += fmt::format(
        R"(<div class="bar"><div>{}</div><div class="track"><div style="width:{:.2f}%;)"
        R"html(background:var(--blue)"></div></div><div class="num">{}</div></div>)html",
        named(r, bar.label), present ? 100 * bar.value : 0.0,
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
  std::string out = R"(<div class="key">)";
  for (std::size_t c = 0; c < r.classes.size(); ++c)
    out += fmt::format("<span>{}</span>", named(r, c));
  out += "</div>";
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
  std::string out = fmt::format(
      R"(<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" )"
      R"(content="width=device-width,initial-scale=1"><title>{0}</title><style>{1}</style></head>)"
      R"(<body><main><h1>{0}</h1><p>Written by {2}.</p><div class="tiles">)",
      escape(r.title), kReportStyle, escape(r.command));
  for (const auto& [caption, figure] : r.summary)
    out += fmt::format(R"(<div class="tile"><b>{}</b><span>{}</span></div>)", escape(figure),
                       escape(caption));
  out += R"(</div><div class="two">)" + chart("Training loss", r.loss, "--blue", false);
  for (const auto& [name, curve] : r.scores)
    out += chart("Validation " + name, curve, "--teal", true);
  out += "</div>";
  if (!r.bars.empty()) out += class_bars(r);
  if (!r.pictures.empty()) out += picture_rows(r);
  if (!r.examples.empty()) out += example_grid(r);
  if (!r.confusion.empty()) out += confusion_map(r);
  std::string settings;
  for (const auto& [key, value] : r.settings)
    settings += fmt::format("<tr><td>{}</td><td>{}</td></tr>", escape(key), escape(value));
  return out + R"(<div class="two">)" + chart("Learning rate", r.learning_rate, "--amber", false) +
         card("Settings", "<table>" + settings + "</table>") + "</div></main></body></html>\n";
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
