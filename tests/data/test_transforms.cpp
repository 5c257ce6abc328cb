#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "data/augment/transforms.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

struct Output {
  std::vector<float> image;
  std::vector<std::int32_t> label;
};

Output run(const TrainTransform& t, const Image& image, const LabelMap& label, std::uint64_t seed) {
  const auto n = static_cast<std::size_t>(t.crop_h * t.crop_w);
  Output out{std::vector<float>(3 * n, -9), std::vector<std::int32_t>(n, -9)};
  t.apply(image, label, {seed}, out.image, out.label);
  return out;
}

// No change of colour: numbers are the pixels' own.
TrainTransform plain(std::int64_t h, std::int64_t w) {
  TrainTransform t;
  t.crop_h = h;
  t.crop_w = w;
  t.photometric.enabled = false;
  t.normalize = {{0, 0, 0}, {1, 1, 1}};
  return t;
}

// A picture that tells its labels: (40 label, 0, 255 - 40 label).
Image told_by(const LabelMap& label) {
  Image image{label.height, label.width, {}};
  for (const std::uint8_t v : label.values)
    image.pixels.insert(image.pixels.end(), {static_cast<std::uint8_t>(40 * v), 0,
                                             static_cast<std::uint8_t>(255 - 40 * v)});
  return image;
}

LabelMap halves(std::int64_t h, std::int64_t w) {
  LabelMap label{h, w, {}};
  for (std::int64_t i = 0; i < h * w; ++i) label.values.push_back(i % w < w / 2 ? 1 : 5);
  return label;
}

Tensor evaluated(const EvalTransform& t, const Image& image) {
  const Image sized = t.resize(image);
  const Rectangle all[] = {{0, 0, sized.height, sized.width}};
  return t.normalized(sized, all);
}

// 8-bit RGB <-> HSV as OpenCV's COLOR_RGB2HSV and back, pixel by pixel: hue in 0..179, saturation
// and value in 0..255.
using Hsv = std::array<std::uint8_t, 3>;

// OpenCV divides by tables of 12 fractional bits.
int part(int whole, int by) {
  return by == 0 ? 0 : static_cast<int>(std::lrint((whole << 12) / static_cast<double>(by)));
}

Hsv rgb_to_hsv(Color rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int v = std::max({r, g, b}), diff = v - std::min({r, g, b});
  const int s = (diff * part(255, v) + (1 << 11)) >> 12;
  int h = v == r ? g - b : v == g ? b - r + 2 * diff : r - g + 4 * diff;
  h = (h * part(180 / 6, diff) + (1 << 11)) >> 12;
  if (h < 0) h += 180;
  return {static_cast<std::uint8_t>(h), static_cast<std::uint8_t>(s), static_cast<std::uint8_t>(v)};
}

Color hsv_to_rgb(Hsv hsv) {
  const float sixth = static_cast<float>(hsv[0]) * (6.0f / 180.0f);
  const float s = static_cast<float>(hsv[1]) / 255.0f, v = static_cast<float>(hsv[2]);
  const int sector = static_cast<int>(sixth) % 6;
  const float f = sixth - std::floor(sixth);
  const float level[4] = {v, v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))};
  static constexpr int kSector[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3},
                                        {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
  Color rgb{};
  for (std::size_t c = 0; c < 3; ++c)
    rgb[c] = static_cast<std::uint8_t>(std::lrint(level[kSector[sector][c]]));
  return rgb;
}

}  // namespace

TEST_CASE("resize: bilinear and nearest against their definitions") {
  const Image image = noise_image(5, 7, 1);
  const std::int64_t h = 9, w = 4;
  const Image out = resize_bilinear(image, h, w);
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        const double sy = std::clamp((static_cast<double>(y) + 0.5) * 5 / 9 - 0.5, 0.0, 4.0);
        const double sx = std::clamp((static_cast<double>(x) + 0.5) * 7 / 4 - 0.5, 0.0, 6.0);
        double sum = 0;
        for (std::int64_t i = 0; i < 5; ++i)
          for (std::int64_t j = 0; j < 7; ++j)
            sum += std::max(0.0, 1 - std::abs(sy - static_cast<double>(i))) *
                   std::max(0.0, 1 - std::abs(sx - static_cast<double>(j))) *
                   image.pixels[static_cast<std::size_t>((i * 7 + j) * 3 + c)];
        CHECK(std::abs(out.pixels[static_cast<std::size_t>((y * w + x) * 3 + c)] - sum) < 0.51);
      }
  const LabelMap label{1, 4, {1, 2, 3, 4}};
  CHECK(resize_nearest(label, 1, 6).values == std::vector<std::uint8_t>{1, 1, 2, 3, 3, 4});
  CHECK(resize_nearest(label, 2, 2).values == std::vector<std::uint8_t>{1, 3, 1, 3});
  CHECK(resize_bilinear(image, 5, 7).pixels == image.pixels);
}

TEST_CASE("a window of a resize is the resize, cut") {
  const Image image = noise_image(21, 18, 2);
  const LabelMap label = noise_label(21, 18, 9, 2);
  for (const auto& [fh, fw] : {std::pair{40, 33}, {9, 50}, {11, 8}, {21, 18}}) {
    const Image full = resize_bilinear(image, fh, fw);
    const LabelMap full_label = resize_nearest(label, fh, fw);
    const WindowOf window{fh, fw, 3, 2, 5, 6};
    const Image cut = resize_bilinear(image, window);
    const LabelMap cut_label = resize_nearest(label, window);
    for (std::int64_t y = 0; y < 5; ++y)
      for (std::int64_t x = 0; x < 6; ++x) {
        const auto from = static_cast<std::size_t>((y + 3) * fw + x + 2);
        const auto to = static_cast<std::size_t>(y * 6 + x);
        CHECK(cut_label.values[to] == full_label.values[from]);
        CHECK(cut.pixels[3 * to + 1] == full.pixels[3 * from + 1]);
      }
  }
  CHECK_THROWS_AS(resize_bilinear(image, WindowOf{20, 20, 18, 0, 5, 5}), Error);
}

TEST_CASE("rescale_size keeps the ratio within both sides") {
  CHECK(rescale_size(480, 640, 512, 2048) == std::pair<std::int64_t, std::int64_t>{512, 683});
  CHECK(rescale_size(100, 1000, 512, 2048) == std::pair<std::int64_t, std::int64_t>{205, 2048});
  CHECK(rescale_size(1000, 10, 5, 2000) == std::pair<std::int64_t, std::int64_t>{500, 5});
}

TEST_CASE("image and labels move together, label values are never blended") {
  // Blocks of 8 x 8: away from their edges the picture still tells its label exactly.
  LabelMap label{48, 64, {}};
  const LabelMap blocks = noise_label(6, 8, 6, 4);
  for (int y = 0; y < 48; ++y)
    for (int x = 0; x < 64; ++x)
      label.values.push_back(blocks.values[static_cast<std::size_t>(y / 8 * 8 + x / 8)]);
  const Image image = told_by(label);
  const TrainTransform t = plain(40, 44);
  int exact = 0, filled = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Output out = run(t, image, label, seed);
    for (std::size_t i = 0; i < out.label.size(); ++i) {
      const float red = out.image[3 * i], blue = out.image[3 * i + 2];
      if (out.label[i] == kIgnoreLabel) {  // only padding is ignored here
        CHECK(red == 0);
        CHECK(blue == 0);
        continue;
      }
      REQUIRE(out.label[i] >= 0);
      REQUIRE(out.label[i] <= 5);
      REQUIRE(red + blue == doctest::Approx(255).epsilon(0.005));
      ++filled;
      exact += std::abs(red - 40 * static_cast<float>(out.label[i])) < 1;
    }
  }
  CHECK(exact > 0.6 * filled);  // the rest lies at the edges of blocks
  // Without scaling every pixel tells its label exactly.
  TrainTransform unscaled = plain(20, 30);
  unscaled.scale_min = unscaled.scale_max = 1;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Output out = run(unscaled, image, label, seed);
    for (std::size_t i = 0; i < out.label.size(); ++i)
      REQUIRE(out.image[3 * i] == 40 * static_cast<float>(out.label[i]));
  }
}

TEST_CASE("padding goes right and below, with 0 after normalisation and 255") {
  TrainTransform t = plain(10, 12);
  t.normalize = {};
  t.scale_min = t.scale_max = 0.5;
  const LabelMap label = halves(8, 16);
  const Output out = run(t, told_by(label), label, 1);
  for (std::int64_t y = 0; y < 10; ++y)
    for (std::int64_t x = 0; x < 12; ++x) {
      const auto i = static_cast<std::size_t>(y * 12 + x);
      const bool inside = y < 4 && x < 8;
      CHECK((out.label[i] == kIgnoreLabel) == !inside);
      CHECK((out.image[3 * i + 1] == 0) == !inside);
      if (inside) CHECK(out.image[3 * i + 1] == doctest::Approx((0 - 116.28) / 57.12));
    }
}

TEST_CASE("the scale is uniform in its range") {
  TrainTransform t = plain(100, 100);
  t.cat_max_ratio = 1;
  const LabelMap label = halves(40, 40);
  const Image image = told_by(label);
  double sum = 0, least = 1e9, most = 0;
  constexpr int kDraws = 400;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
    const Output out = run(t, image, label, seed);
    double rows = 0;
    for (std::size_t y = 0; y < 100; ++y) rows += out.label[y * 100] != kIgnoreLabel;
    sum += rows;
    least = std::min(least, rows);
    most = std::max(most, rows);
  }
  CHECK(sum / kDraws == doctest::Approx(50).epsilon(0.05));  // 40 * 1.25
  CHECK(least >= 20);
  CHECK(least <= 21);
  CHECK(most <= 80);
  CHECK(most >= 79);
}

TEST_CASE("base size comes before the random factor") {
  TrainTransform t = plain(60, 90);
  t.base_short = 20;
  t.base_long = 80;
  t.scale_min = t.scale_max = 1.5;
  const LabelMap label = halves(40, 60);
  const Output out = run(t, told_by(label), label, 0);
  std::size_t filled = 0;
  for (const std::int32_t v : out.label) filled += v != kIgnoreLabel;
  CHECK(filled == 30 * 45);
}

TEST_CASE("flips are as likely as they should be") {
  TrainTransform t = plain(8, 8);
  t.scale_min = t.scale_max = 1;
  const LabelMap label = halves(8, 8);
  const Image image = told_by(label);
  for (const double p : {0.0, 0.5, 1.0}) {
    t.flip = p;
    int flipped = 0;
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
      const Output out = run(t, image, label, seed);
      flipped += out.label[0] == 5;
      CHECK(out.image[0] == 40 * static_cast<float>(out.label[0]));
      CHECK(out.label[7] == 6 - out.label[0]);
    }
    CHECK(flipped / 400.0 == doctest::Approx(p).epsilon(0.1));
  }
}

TEST_CASE("crops reach every place and avoid one class that rules") {
  TrainTransform t = plain(4, 4);
  t.scale_min = t.scale_max = 1;
  t.flip = 0;
  t.cat_max_ratio = 1;
  LabelMap index{6, 7, {}};
  for (std::uint8_t i = 0; i < 42; ++i) index.values.push_back(i);
  std::vector<int> seen(42);
  const Image image = noise_image(6, 7, 1);
  for (std::uint64_t seed = 0; seed < 600; ++seed)
    ++seen[static_cast<std::size_t>(run(t, image, index, seed).label[0])];
  for (int y = 0; y < 6; ++y)
    for (int x = 0; x < 7; ++x) {
      const int n = seen[static_cast<std::size_t>(y * 7 + x)];
      if (y <= 2 && x <= 3)
        CHECK(std::abs(n - 50) < 30);
      else
        CHECK(n == 0);
    }

  // A tenth of the width is another class: a first crop rarely holds enough of it.
  LabelMap label{40, 200, {}};
  for (int i = 0; i < 8000; ++i) label.values.push_back(i % 200 < 20 ? 1 : 0);
  TrainTransform narrow = plain(20, 20);
  narrow.scale_min = narrow.scale_max = 1;
  const auto balanced = [&](double ratio) {
    narrow.cat_max_ratio = ratio;
    int n = 0;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      const Output out = run(narrow, told_by(label), label, seed);
      int ones = 0;
      for (const std::int32_t v : out.label) ones += v == 1;
      n += ones > 100 && ones < 300;
    }
    return n / 300.0;
  };
  // 10 of 181 positions hold between a quarter and three quarters; 11 draws find one with 1 - (1 -
  // p)^11.
  CHECK(balanced(1) < 0.12);
  CHECK(balanced(0.75) > 0.3);
}

TEST_CASE("HSV agrees with OpenCV on known colours, and returns") {
  CHECK(rgb_to_hsv({255, 0, 0}) == Hsv{0, 255, 255});
  CHECK(rgb_to_hsv({0, 255, 0}) == Hsv{60, 255, 255});
  CHECK(rgb_to_hsv({0, 0, 255}) == Hsv{120, 255, 255});
  CHECK(rgb_to_hsv({255, 0, 255}) == Hsv{150, 255, 255});
  CHECK(rgb_to_hsv({10, 10, 10}) == Hsv{0, 0, 10});
  CHECK(rgb_to_hsv({100, 160, 220}) == Hsv{105, 139, 220});
  CHECK(rgb_to_hsv({0, 0, 0}) == Hsv{0, 0, 0});
  RandomStream random({1});
  for (int i = 0; i < 3000; ++i) {
    const Color c{static_cast<std::uint8_t>(random.next()),
                  static_cast<std::uint8_t>(random.next()),
                  static_cast<std::uint8_t>(random.next())};
    const auto hsv = rgb_to_hsv(c);
    CHECK(hsv[0] < 180);
    const Color back = hsv_to_rgb(hsv);
    for (std::size_t k = 0; k < 3; ++k) CHECK(std::abs(back[k] - c[k]) <= 7);
  }
}

TEST_CASE("photometric distortion in lanes is the conversion pixel by pixel") {
  for (const std::int64_t pixels : {1, 255, 256, 257, 1000}) {
    CAPTURE(pixels);
    Photometric saturate;
    saturate.p = 1;
    saturate.brightness = 0;
    saturate.contrast_min = saturate.contrast_max = 1;
    saturate.saturation_min = saturate.saturation_max = 1.3;
    saturate.hue = 0;
    const Image before = noise_image(1, pixels, 5);
    Image after = before;
    RandomStream random({1, 2, 3, 4});
    saturate.apply(after, random);
    for (std::size_t i = 0; i < before.pixels.size(); i += 3) {
      auto hsv = rgb_to_hsv({before.pixels[i], before.pixels[i + 1], before.pixels[i + 2]});
      hsv[1] = static_cast<std::uint8_t>(std::min(static_cast<float>(hsv[1]) * 1.3f, 255.0f));
      const Color rgb = hsv_to_rgb(hsv);
      CHECK(Color{after.pixels[i], after.pixels[i + 1], after.pixels[i + 2]} == rgb);
    }
  }
}

TEST_CASE("photometric distortion: each part alone, its range and probability") {
  const Image grey{1, 1, {100, 100, 100}}, color{1, 1, {200, 100, 100}};
  Photometric only;
  const auto draw = [&](const Image& image, std::uint64_t seed) {
    Image out = image;
    RandomStream random({seed});
    only.apply(out, random);
    return out.pixels;
  };
  constexpr int kDraws = 2000;
  only.contrast_min = only.contrast_max = only.saturation_min = only.saturation_max = 1;
  only.hue = 0;
  int changed = 0, least = 255, most = 0;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {  // brightness
    const int v = draw(grey, seed)[0];
    changed += v != 100;
    least = std::min(least, v), most = std::max(most, v);
  }
  CHECK(changed / double{kDraws} == doctest::Approx(0.5).epsilon(0.1));
  CHECK(least == 68);
  CHECK(most == 131);  // the fraction is cut
  only.brightness = 0;
  only.contrast_min = 0.5, only.contrast_max = 1.5;
  least = 255, most = 0;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {  // contrast
    const int v = draw(grey, seed)[2];
    least = std::min(least, v), most = std::max(most, v);
  }
  CHECK(least == 50);
  CHECK(most == 149);
  only.contrast_min = only.contrast_max = 1;
  only.saturation_min = 0.5, only.saturation_max = 1.5;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {  // saturation: the largest channel stays
    const auto p = draw(color, seed);
    CHECK(p[0] == 200);
    CHECK(p[1] >= 49);
    CHECK(p[1] <= 151);
    CHECK(draw(grey, seed) == grey.pixels);
  }
  only.saturation_min = only.saturation_max = 1;
  only.hue = 18;
  std::vector<int> hues(180);
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {  // hue: -18 .. 17 around red
    const auto p = draw(color, seed);
    ++hues[rgb_to_hsv({p[0], p[1], p[2]})[0]];
  }
  for (int h = 19; h < 161; ++h) CHECK(hues[static_cast<std::size_t>(h)] == 0);
  CHECK(hues[0] > 0.45 * kDraws);
  CHECK(hues[10] > 0);
  CHECK(hues[170] > 0);
  only.enabled = false;
  CHECK(draw(color, 1) == color.pixels);
}

TEST_CASE("the same key gives the same sample, another key another") {
  TrainTransform t;
  t.crop_h = t.crop_w = 16;
  const LabelMap label = noise_label(24, 31, 6, 1);
  const Image image = noise_image(24, 31, 1);
  CHECK(run(t, image, label, 5).image == run(t, image, label, 5).image);
  CHECK(run(t, image, label, 5).image != run(t, image, label, 6).image);
  t.scale_min = 0;
  CHECK_THROWS_AS(t.validate(), Error);
  t.scale_min = 0.5;
  t.base_short = 10;
  CHECK_THROWS_AS(t.validate(), Error);
  t.base_short = 0;
  CHECK_THROWS_AS(run(t, image, noise_label(24, 30, 6, 1), 5), Error);
}

TEST_CASE("evaluation: sizes and numbers") {
  using Size = std::pair<std::int64_t, std::int64_t>;
  EvalTransform t;
  CHECK(t.size_for(360, 480) == Size{384, 480});
  CHECK(t.size_for(1, 33) == Size{32, 64});
  t.multiple = 1;
  CHECK(t.size_for(5, 7) == Size{5, 7});
  const Tensor same = evaluated(t, Image{1, 2, {255, 0, 10, 20, 30, 40}});
  CHECK(same.shape() == Shape{1, 1, 2, 3});
  CHECK(same.to_vector<float>()[0] == doctest::Approx((255 - 123.675) / 58.395));
  CHECK(same.to_vector<float>()[5] == doctest::Approx((40 - 103.53) / 57.375));
  t.height = 6;
  t.width = 9;
  CHECK(evaluated(t, noise_image(5, 4, 1)).shape() == Shape{1, 6, 9, 3});
  EvalTransform based;
  based.base_short = 40;
  based.base_long = 200;
  CHECK(based.size_for(20, 30) == Size{64, 64});
  CHECK(evaluated(based, noise_image(20, 30, 1)).shape() == Shape{1, 64, 64, 3});
}
