#include "apps/report/explain_page.h"

#include <algorithm>
#include <cmath>

#include "apps/report/page.h"
#include "data/images/palette.h"
#include "data/images/resize.h"

namespace nextgrad {
namespace {

constexpr const char* kNames[] = {"stage 1, a quarter of the size", "stage 2, an eighth",
                                  "stage 3, a 16th", "stage 4, a 32nd"};

// From dark violet by red to pale yellow: brighter is more, in grey too (Smith and van der Walt's
// "inferno", at five of its points).
Color heat_color(double t) {
  constexpr double kRamp[][3] = {
      {0, 0, 4}, {87, 16, 110}, {188, 55, 84}, {249, 142, 9}, {252, 255, 164}};
  const double at = std::clamp(t, 0.0, 1.0) * 4;
  const auto i = std::min<std::size_t>(static_cast<std::size_t>(at), 3);
  Color color{};
  for (std::size_t c = 0; c < 3; ++c)
    color[c] = static_cast<std::uint8_t>(
        std::lround(kRamp[i][c] + (at - static_cast<double>(i)) * (kRamp[i + 1][c] - kRamp[i][c])));
  return color;
}

// The map in grey levels, 255 its largest value.
Image grey_levels(const HeatMap& map) {
  const float most = std::max(*std::ranges::max_element(map.values), 1e-30f);
  Image grey{map.height, map.width, {}};
  for (const float v : map.values)
    grey.pixels.insert(grey.pixels.end(), 3,
                       static_cast<std::uint8_t>(std::lround(255 * std::max(v, 0.0f) / most)));
  return grey;
}

// A class's name, or its number if the weights name none.
std::string called(const ModelInfo& info, int label) {
  const auto i = static_cast<std::size_t>(label);
  return i < info.classes.size() ? info.classes[i] : fmt::format("class {}", label);
}

std::string shot(const Image& image, const std::string& caption) {
  return figure(data_uri("jpeg", encode_jpeg(image, 85)), caption);
}
std::string shots(const std::string& figures) {
  return "<div class=\"maps\">" + figures + "</div>";
}
std::string text(const std::string& line) {
  return "<p>" + escape(line) + "</p>";
}

// A field's gradient falls by orders of magnitude: its square root is shown, with the pixel marked.
Image field_over(const Image& picture, const Explanation::Field& field) {
  HeatMap map = field.gradient;
  for (float& v : map.values) v = std::sqrt(v);
  Image image = heat_over(picture, map);
  constexpr std::int64_t kArm = 6;
  for (std::int64_t d = -kArm; d <= kArm; ++d)
    for (const auto& [x, y] : {std::pair{field.x + d, field.y}, {field.x, field.y + d}}) {
      if (x < 0 || y < 0 || x >= image.width || y >= image.height || std::abs(d) < 2) continue;
      for (std::size_t c = 0; c < 3; ++c)
        image.pixels[static_cast<std::size_t>(3 * (y * image.width + x)) + c] = c == 1 ? 255 : 0;
    }
  return image;
}

std::string attention_card(const Image& picture, const Explanation& e) {
  if (e.attention.empty())
    return card("Attention", text("This encoder has no product of an attention with its input, so "
                                  "there is no map to show."));
  std::string maps;
  for (std::size_t i = 0; i < e.attention.size(); ++i)
    maps += shot(heat_over(picture, e.attention[i]), kNames[i]);
  return card("Attention of each stage",
              text("What the last block of each stage multiplies its input by: bright where it "
                   "lets much through (root mean square over the channels).") +
                  shots(maps));
}

std::string bases_card(const Image& picture, const Explanation& e) {
  std::string maps;
  for (std::size_t i = 0; i < e.bases.size(); ++i)
    maps += shot(heat_over(picture, e.bases[i].coefficients),
                 fmt::format("{}: {:.1f} % of all", i + 1, 100 * e.bases[i].share));
  return card("The decoder's bases",
              text(fmt::format("The Hamburger makes every pixel of {} bases; bright where much of "
                               "a basis is used. The {} largest:",
                               e.bases_in_all, e.bases.size())) +
                  shots(maps));
}

std::string cams_card(const Image& picture, const Explanation& e, const ModelInfo& info) {
  std::string maps;
  for (const Explanation::Cam& cam : e.cams)
    maps += shot(heat_over(picture, cam.map),
                 called(info, cam.label) + (cam.predicted ? "" : ", predicted nowhere"));
  return card("What speaks for a class",
              text(fmt::format("Grad-CAM on stage {}: features that raise the class's logits where "
                               "it is predicted.",
                               e.stage)) +
                  shots(maps));
}

}  // namespace

Image heat_over(const Image& picture, const HeatMap& map) {
  Image image = resize_bilinear(grey_levels(map), picture.height, picture.width);
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    const std::uint8_t* p = &picture.pixels[i];
    const double grey = 0.3 * p[0] + 0.59 * p[1] + 0.11 * p[2];
    const Color heat = heat_color(image.pixels[i] / 255.0);
    for (std::size_t c = 0; c < 3; ++c)
      image.pixels[i + c] = static_cast<std::uint8_t>(std::lround(0.3 * grey + 0.7 * heat[c]));
  }
  return image;
}

std::string explain_page(const std::string& name, const Image& picture, const LabelMap& label,
                         const Explanation& e, const ModelInfo& info) {
  const Explanation::Field& f = e.field;
  std::string body =
      card("Prediction", class_key(info.classes, info.palette) +
                             shots(shot(picture, name) +
                                   shot(overlay(picture, label, info.palette, 0.5), "prediction")));
  body += attention_card(picture, e);
  if (!e.bases.empty()) body += bases_card(picture, e);
  body += cams_card(picture, e, info);
  body += card(
      "What one pixel sees",
      text(fmt::format("Gradient of the marked pixel's logit of {} for every pixel of the picture "
                       "(its square root is shown). Half of it lies within {:.0f} pixels, 95 % "
                       "within {:.0f}, of a picture of {}x{}.",
                       called(info, f.label), f.half, f.most, picture.width, picture.height)) +
          shots(shot(field_over(picture, f), fmt::format("pixel {},{}", f.x, f.y))));
  return page(fmt::format("Where {} looks: {}", name_of(info.model), name), "segnext predict",
              body);
}

}  // namespace nextgrad
