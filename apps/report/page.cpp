#include "apps/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/report_style.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr double kWidth = 520, kHeight = 260;

// 1, 2 or 5 times a power of ten, so that about `steps` of them cover `span`.
double nice_step(double span, int steps) {
  const double raw = std::max(span, 1e-12) / steps;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double r = raw / power;
  return power * (r <= 1 ? 1 : r <= 2 ? 2 : r <= 5 ? 5 : 10);
}

// A drawing with axes, as inline SVG: where a point of it lies, and the lines and numbers behind.
struct Axes {
  double low_x, high_x, low_y, high_y;
  double x_step = nice_step(high_x - low_x, 6), y_step = nice_step(high_y - low_y, 5);
  static constexpr double kLeft = 52, kRight = 24, kTop = 10, kBottom = 30;

  double px(double x) const {
    return kLeft + (kWidth - kLeft - kRight) * (x - low_x) / (high_x - low_x);
  }
  double py(double y) const {
    return kTop + (kHeight - kTop - kBottom) * (1 - (y - low_y) / (high_y - low_y));
  }
  std::string begin(const std::string& title, const char* unit, double scale) const {
    std::string out = fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", kWidth,
                                  kHeight, escape(title));
    for (double y = low_y; y <= high_y + y_step * 1e-6; y += y_step)
      out +=
          fmt::format(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)"
                      R"(<text x="{}" y="{:.1f}" text-anchor="end">{:.4g}{}</text>)",
                      kLeft, kWidth - kRight, py(y), py(y), kLeft - 8, py(y) + 4, scale * y, unit);
    for (double x = low_x; x <= high_x + x_step * 1e-6; x += x_step)
      out += fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="middle">{:.6g}</text>)", px(x),
                         kHeight - 8, x);
    return out;
  }
};

std::string polyline(const Axes& axes, const Line& line) {
  std::string out =
      fmt::format(R"html(<polyline class="curve" stroke="{}" points=")html", line.colour);
  for (const auto& [x, y] : thin_out(line.curve, 400))
    out += fmt::format("{:.1f},{:.1f} ", axes.px(x), axes.py(y));
  out += R"("/>)";
  if (line.curve.size() <= 60)
    for (const auto& [x, y] : line.curve)
      out += fmt::format(
          R"(<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"><title>{} {:.0f}: {:.4g}</title></circle>)",
          axes.px(x), axes.py(y), line.colour, escape(line.name), x, y);
  return out;
}

// A little below the least and above the most, at whole steps.
std::pair<double, double> around(double least, double most) {
  const double step = nice_step(std::max(most - least, 1e-3 * std::abs(most)), 5);
  return {std::floor(least / step) * step, (std::floor(most / step) + 1) * step};
}

}  // namespace

std::string page(const std::string& title, const std::string& command, const std::string& body) {
  return fmt::format(
      R"(<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" )"
      R"(content="width=device-width,initial-scale=1"><title>{0}</title><style>{1}</style></head>)"
      R"(<body><main><h1>{0}</h1><p>Written by {2}.</p>{3}</main></body></html>)"
      "\n",
      escape(title), kReportStyle, escape(command), body);
}

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

std::string card(const std::string& title, const std::string& body) {
  return fmt::format(R"(<div class="card"><h2>{}</h2>{}</div>)", escape(title), body);
}

std::string figure(const std::string& uri, const std::string& caption, const char* kind) {
  return fmt::format(
      R"(<figure class="{0}"><img src="{1}" alt="{2}"><figcaption>{2}</figcaption></figure>)", kind,
      uri, escape(caption));
}

std::string swatch(const std::string& colour, const std::string& name) {
  return fmt::format(R"(<i style="background:{}"></i>{})", colour, escape(name));
}

std::string class_name(const std::vector<std::string>& classes, const Palette& palette,
                       std::size_t label) {
  if (label >= palette.size()) return escape(classes[label]);
  const auto& [red, green, blue] = palette[label];
  return swatch(fmt::format("#{:02x}{:02x}{:02x}", red, green, blue), classes[label]);
}

std::string class_key(const std::vector<std::string>& classes, const Palette& palette) {
  std::string out = R"(<div class="key">)";
  for (std::size_t c = 0; c < classes.size(); ++c)
    out += fmt::format("<span>{}</span>", class_name(classes, palette, c));
  return out + "</div>";
}

std::string chart(const std::string& title, const std::vector<Line>& lines, bool percent) {
  double low = 0, high = 0, x_end = 1;
  bool any = false;
  std::string legend;
  for (const Line& line : lines) {
    any = any || !line.curve.empty();
    for (const auto& [x, y] : thin_out(line.curve, 400))
      high = std::max(high, y), low = std::min(low, y);
    if (!line.curve.empty()) x_end = std::max(x_end, line.curve.back().first);
    if (!line.name.empty())
      legend += fmt::format("<span>{}</span>", swatch(line.colour, line.name));
  }
  if (!any) return card(title, "<p>No values yet.</p>");
  if (percent) high = std::min(1.0, high * 1.1);
  const double step = nice_step(std::max(high - low, 1e-9), 5);
  const Axes axes{0, x_end, low, std::max(std::ceil(high / step - 1e-9), 1.0) * step};
  std::string out = axes.begin(title, percent ? " %" : "", percent ? 100 : 1);
  for (const Line& line : lines) out += polyline(axes, line);
  out += "</svg>";
  return card(title,
              legend.empty() ? out : fmt::format(R"({}<div class="key">{}</div>)", out, legend));
}

std::string scatter(const std::string& title, const std::string& x_title,
                    const std::vector<Dot>& dots) {
  if (dots.empty()) return card(title, "<p>No values yet.</p>");
  const auto [left, right] = std::ranges::minmax(dots, {}, &Dot::x);
  const auto [bottom, top] = std::ranges::minmax(dots, {}, &Dot::y);
  const auto [low_x, high_x] = around(left.x, right.x);
  const auto [low_y, high_y] = around(bottom.y, top.y);
  const Axes axes{low_x, high_x, low_y, high_y};
  std::string out = axes.begin(title, " %", 1);
  std::vector<Dot> sorted = dots;
  std::ranges::sort(sorted, {}, [](const Dot& d) { return -d.y; });
  double line = 0;  // of the last name: names do not stand on each other
  for (const Dot& d : sorted) {
    const double x = axes.px(d.x), y = axes.py(d.y);
    const bool to_left = x > kWidth * 0.6;
    line = std::max(line + 13, y + 4);
    out += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="5" fill="{}"><title>{}: {:.4g}, )"
                       R"({:.2f} %</title></circle><text x="{:.1f}" y="{:.1f}"{}>{}</text>)",
                       x, y, d.colour, escape(d.name), d.x, d.y, to_left ? x - 9 : x + 9, line,
                       to_left ? R"( text-anchor="end")" : "", escape(d.name));
  }
  return card(title, out + fmt::format("</svg><p>mIoU over {}.</p>", escape(x_title)));
}

}  // namespace nextgrad
