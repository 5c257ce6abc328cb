#include "apps/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1a2230;--dim:#667085;--line:#e4e7ec;
--blue:#2563eb;--teal:#0d9488;--amber:#b45309}
@media(prefers-color-scheme:dark){:root{--page:#0e1116;--card:#171b22;--ink:#e8ebf0;--dim:#98a2b3;
--line:#2a303b;--blue:#6ea8fe;--teal:#2dd4bf;--amber:#fbbf24}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 20px 64px}h1{font-size:26px;margin:0 0 4px}
h2{font-size:16px;margin:0 0 12px}p{margin:0 0 16px;color:var(--dim)}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin:20px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:12px 16px}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}.tile span{color:var(--dim);font-size:13px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:16px}.two .card{margin:0}
svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font-size:12px}
.grid{stroke:var(--line)}.curve{fill:none;stroke-width:2;stroke-linejoin:round}
.bar{display:grid;grid-template-columns:150px 1fr 118px;gap:12px;align-items:center;margin:5px 0;font-size:14px}
.bar i,.key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:8px;border:1px solid var(--line)}
.track{background:var(--line);border-radius:5px;height:14px;overflow:hidden}.track div{height:100%;border-radius:5px}
.num{font-variant-numeric:tabular-nums;color:var(--dim);text-align:right;white-space:nowrap}
.key{display:flex;flex-wrap:wrap;gap:6px 18px;font-size:13px;margin-bottom:14px}
.shots{display:grid;grid-template-columns:repeat(3,1fr);gap:10px;margin-bottom:18px}
.shots img{width:100%;border-radius:6px;display:block;image-rendering:auto}.shots figure{margin:0}
.examples{display:grid;grid-template-columns:repeat(auto-fill,minmax(110px,1fr));gap:10px;margin-bottom:18px}
.examples figure{margin:0}.examples img{width:100%;border-radius:6px;display:block;border:3px solid var(--teal)}
.examples .wrong img{border-color:var(--amber)}
figcaption{font-size:12px;color:var(--dim);margin-top:4px;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:14px}td{border-top:1px solid var(--line);padding:5px 8px}
td:first-child{color:var(--dim);width:40%}.wide{overflow-x:auto}
)";

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string css(const std::array<std::uint8_t, 3>& c) {
  return fmt::format("#{:02x}{:02x}{:02x}", c[0], c[1], c[2]);
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
  std::string out = fmt::format("<div class=\"card\"><h2>{}</h2>", escape(title));
  const auto curve = thin_out(raw, 400);
  if (curve.empty()) return out + "<p>No values yet.</p></div>";
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
  out += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", kW, kH,
                     escape(title));
  for (double y = low; y <= high + y_step * 1e-6; y += y_step)
    out += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>",
        kLeft, kW - kRight, py(y), py(y), kLeft - 8, py(y) + 4,
        percent ? fmt::format("{:.4g} %", y * 100) : fmt::format("{:.4g}", y));
  for (double x = 0; x <= x_end + x_step * 1e-6; x += x_step)
    out += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.6g}</text>", px(x),
                       kH - 8, x);
  out += fmt::format("<polyline class=\"curve\" stroke=\"var({})\" points=\"", colour);
  for (const auto& [x, y] : curve) out += fmt::format("{:.1f},{:.1f} ", px(x), py(y));
  out += "\"/>";
  if (raw.size() <= 60)
    for (const auto& [x, y] : raw)
      out += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"var({})\"><title>{:.0f}: "
          "{:.4g}</title></circle>",
          px(x), py(y), colour, x, y);
  return out + "</svg></div>";
}

std::string swatch(const Report& r, std::size_t label) {
  return label < r.palette.size()
             ? fmt::format("<i style=\"background:{}\"></i>", css(r.palette[label]))
             : "";
}

std::string class_bars(const Report& r) {
  std::string out = fmt::format("<div class=\"card\"><h2>{}</h2>", escape(r.bars_title));
  for (const auto& bar : r.bars) {
    const bool present = std::isfinite(bar.value);
    out += fmt::format(
        "<div class=\"bar\"><div>{0}{1}</div><div class=\"track\">"
        "<div style=\"width:{2:.2f}%;background:var(--blue)\"></div></div><div class=\"num\">{3}"
        "</div></div>",
        swatch(r, bar.label), escape(r.classes[bar.label]), present ? 100 * bar.value : 0.0,
        present ? fmt::format("{:.1f} %{}", 100 * bar.value, escape(bar.note)) : "absent");
  }
  return out + "</div>";
}

// Rows are truths, each normalised to 1; empty cells are left out.
std::string confusion_map(const Report& r) {
  const std::size_t k = r.classes.size();
  const double cell = std::clamp(560.0 / static_cast<double>(k), 3.0, 44.0);
  const bool named = cell >= 11;
  const double left = named ? 118 : 4, top = named ? 92 : 4, side = cell * static_cast<double>(k);
  std::string out = fmt::format(
      "<div class=\"card\"><h2>Confusion matrix</h2><p>Row: truth. Column: prediction. Shade: "
      "share of the row's {2}, in percent.</p><div class=\"wide\"><svg "
      "style=\"max-width:{0:.0f}px\" "
      "viewBox=\"0 0 {0:.1f} {1:.1f}\" role=\"img\" aria-label=\"confusion matrix\">",
      left + side + 4, top + side + 4, escape(r.unit));
  for (std::size_t i = 0; i < k; ++i) {
    const double at = cell * (static_cast<double>(i) + 0.5);
    if (named)
      out += fmt::format(
          "<text x=\"{0}\" y=\"{1:.1f}\" text-anchor=\"end\">{2}</text><text transform=\"translate("
          "{3:.1f} {4}) rotate(-45)\">{2}</text>",
          left - 8, top + at + 4, escape(fmt::format("{:.16}", printable(r.classes[i]))),
          left + at + 4, top - 8);
    double row = 0;
    for (std::size_t j = 0; j < k; ++j) row += static_cast<double>(r.confusion[i * k + j]);
    for (std::size_t j = 0; j < k; ++j) {
      const auto pixels = r.confusion[i * k + j];
      if (pixels == 0) continue;
      const double share = static_cast<double>(pixels) / row;
      const double x = left + cell * static_cast<double>(j),
                   y = top + cell * static_cast<double>(i);
      out += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"var(--blue)\" "
          "fill-opacity=\"{:.3f}\"><title>{} as {}: {:.2f} % ({} {})</title></rect>",
          x, y, cell - 0.5, cell - 0.5, 0.04 + 0.9 * std::sqrt(share), escape(r.classes[i]),
          escape(r.classes[j]), 100 * share, pixels, escape(r.unit));
      if (cell >= 22 && share >= 0.005)
        out += fmt::format(
            "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" style=\"fill:var(--ink);"
            "font-size:{}px;pointer-events:none\">{:.0f}</text>",
            x + cell / 2, y + cell / 2 + 4, cell >= 30 ? 12 : 10, 100 * share);
    }
  }
  return out + fmt::format(
                   "<rect class=\"grid\" x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{:.1f}\" "
                   "fill=\"none\"/></svg></div></div>",
                   left, top, side, side);
}

std::string picture_rows(const Report& r) {
  std::string out = "<div class=\"card\"><h2>Validation images</h2><div class=\"key\">";
  for (std::size_t c = 0; c < r.classes.size(); ++c)
    out += fmt::format("<span>{}{}</span>", swatch(r, c), escape(r.classes[c]));
  out += "</div>";
  for (const auto& p : r.pictures) {
    out += "<div class=\"shots\">";
    const std::pair<const std::string*, std::string> shots[] = {
        {&p.photo, p.name}, {&p.truth, "truth"}, {&p.prediction, "prediction"}};
    for (const auto& [uri, caption] : shots)
      out += fmt::format("<figure><img src=\"{}\" alt=\"{}\"><figcaption>{}</figcaption></figure>",
                         *uri, escape(caption), escape(caption));
    out += "</div>";
  }
  return out + "</div>";
}

// What was recognised, then what was not.
std::string example_grid(const Report& r) {
  std::string out = "<div class=\"card\"><h2>Validation images, right and wrong</h2>";
  for (const bool right : {true, false}) {
    out += "<div class=\"examples\">";
    for (const auto& e : r.examples)
      if (e.right == right)
        out += fmt::format(
            "<figure class=\"{}\"><img src=\"{}\" alt=\"{}\"><figcaption>{}</figcaption></figure>",
            right ? "right" : "wrong", e.photo, escape(e.caption), escape(e.caption));
    out += "</div>";
  }
  return out + "</div>";
}

}  // namespace

std::string render_report(const Report& r) {
  std::string out = fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{1}</style></head>"
      "<body><main><h1>{0}</h1><p>Written by {2}.</p><div class=\"tiles\">",
      escape(r.title), kStyle, escape(r.command));
  for (const auto& [caption, figure] : r.summary)
    out += fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(figure),
                       escape(caption));
  out += "</div><div class=\"two\">" + chart("Training loss", r.loss, "--blue", false);
  for (const auto& [name, curve] : r.scores)
    out += chart("Validation " + name, curve, "--teal", true);
  out += "</div>";
  if (!r.bars.empty()) out += class_bars(r);
  if (!r.pictures.empty()) out += picture_rows(r);
  if (!r.examples.empty()) out += example_grid(r);
  if (!r.confusion.empty()) out += confusion_map(r);
  out += "<div class=\"two\">" + chart("Learning rate", r.learning_rate, "--amber", false) +
         "<div class=\"card\"><h2>Settings</h2><table>";
  for (const auto& [key, value] : r.settings)
    out += fmt::format("<tr><td>{}</td><td>{}</td></tr>", escape(key), escape(value));
  return out + "</table></div></div></main></body></html>\n";
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
