// Augmentation for classification: what leaves a picture alone, exact figures of Pillow, ranges.
#include <doctest/doctest.h>

#include <cmath>

#include "data/augment/class_transforms.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

// A picture of few colours, by formula, so that Pillow could be asked about the same one.
Image formula_image(std::int64_t height, std::int64_t width) {
  Image image{height, width, {}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < 3; ++c)
        image.pixels.push_back(
            static_cast<std::uint8_t>(30 + (x * x * 7 + y * y * 5 + x * y * 3 + c * 40) % 200));
  return image;
}

// Sum of pixel (i + 1) * value, modulo 2^32: tells two pictures apart.
std::uint32_t digest(const Image& image) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    sum += static_cast<std::uint32_t>(i + 1) * image.pixels[i];
  return sum;
}

constexpr Color kFill{124, 116, 104};

Image augmented(const Image& image, AugmentOp op, double level, bool negative) {
  Image copy = image;
  apply_augment(copy, op, level, negative, kFill);
  return copy;
}

}  // namespace

TEST_CASE("resampling and colour operations give Pillow's bytes") {
  const Image image = formula_image(37, 53);
  // Figures of Pillow 9.4.0 for the same picture.
  CHECK(digest(resample(image, {0, 0, 37, 53}, 16, 24, Filter::bicubic)) == 85690936u);
  CHECK(digest(resample(image, {0, 0, 37, 53}, 16, 24, Filter::bilinear)) == 85710289u);
  CHECK(digest(resample(image, {5, 7, 20, 30}, 64, 48, Filter::bicubic)) == 1251857479u);
  CHECK(digest(resample(image, {5, 7, 20, 30}, 64, 48, Filter::bilinear)) == 1253457097u);
  const std::uint32_t forth[] = {2187400695u, 2379997996u, 2180547274u, 2191086400u, 1119720064u,
                                 2180547274u, 3080375483u, 2244366785u, 2215572769u, 3440714310u,
                                 2224594020u, 2199260208u, 2141864580u, 2125746692u, 2068007289u};
  const std::uint32_t back[] = {2187400695u, 2379997996u, 2180547274u, 2187737309u, 1119720064u,
                                2180547274u, 3080375483u, 2223343058u, 2224139138u, 415611719u,
                                2223758278u, 2194307396u, 2229009172u, 2131558020u, 2195169386u};
  for (int op = 0; op < kAugmentOps; ++op) {
    CAPTURE(op);
    CHECK(digest(augmented(image, static_cast<AugmentOp>(op), 9, false)) == forth[op]);
    CHECK(digest(augmented(image, static_cast<AugmentOp>(op), 9, true)) == back[op]);
  }
}

TEST_CASE("operations of a level leave a picture alone at level 0") {
  const Image image = formula_image(20, 31);
  for (int op = 0; op < kAugmentOps; ++op) {
    const auto which = static_cast<AugmentOp>(op);
    if (which == AugmentOp::autocontrast || which == AugmentOp::equalize ||
        which == AugmentOp::invert)
      continue;
    CAPTURE(op);
    for (const bool negative : {false, true}) {
      Image got = augmented(image, which, 0, negative);
      if (which == AugmentOp::posterize)  // keeps four bits even then
        for (std::size_t i = 0; i < got.pixels.size(); ++i)
          CHECK(got.pixels[i] == (image.pixels[i] & 0xf0));
      else
        CHECK(got.pixels == image.pixels);
    }
  }
  RandAugment off{.layers = 0};
  RandomStream random({1});
  Image same = image;
  off.apply(same, random);
  CHECK(same.pixels == image.pixels);
}

TEST_CASE("RandAugment does every operation, half the time") {
  const Image image = formula_image(16, 16);
  const RandAugment augment{.layers = 1};
  int changed = 0;
  for (std::uint32_t k = 0; k < 400; ++k) {
    RandomStream random({3, 0, 0, k});
    Image copy = image;
    augment.apply(copy, random);
    CHECK(copy.height == 16);
    CHECK(copy.pixels.size() == image.pixels.size());
    changed += copy.pixels != image.pixels;
  }
  CHECK(changed > 150);
  CHECK(changed < 250);
}

TEST_CASE("random parts lie inside, with the areas and ratios that were asked for") {
  RandomStream random({5});
  for (const auto& [h, w] : {std::pair(100, 150), std::pair(37, 400), std::pair(400, 9)}) {
    double smallest = 1, largest = 0;
    for (int i = 0; i < 500; ++i) {
      const Rectangle r = draw_part(h, w, 0.08, 1, random);
      REQUIRE(r.top >= 0);
      REQUIRE(r.left >= 0);
      REQUIRE(r.height > 0);
      REQUIRE(r.width > 0);
      REQUIRE(r.top + r.height <= h);
      REQUIRE(r.left + r.width <= w);
      const double ratio = static_cast<double>(r.width) / static_cast<double>(r.height);
      const double slack = 1.0 / static_cast<double>(std::min(r.width, r.height));
      CHECK(ratio > 0.75 * (1 - slack) - 1e-9);
      CHECK(ratio < 4.0 / 3 * (1 + slack) + 1e-9);
      const double share = static_cast<double>(r.height * r.width) / (h * w);
      smallest = std::min(smallest, share);
      largest = std::max(largest, share);
    }
    if (h == 100) {
      CHECK(smallest < 0.12);
      CHECK(largest > 0.8);
    }
  }
  for (int i = 0; i < 20; ++i) {  // the whole square picture, whenever a square one is drawn
    const Rectangle r = draw_part(64, 64, 1, 1, random);
    CHECK(r.height * r.width >= 64 * 64 * 3 / 4);
  }
}

TEST_CASE("random erasing: one rectangle of noise of the area asked for") {
  const RandomErasing erasing{.p = 1}, never{.p = 0};
  const std::int64_t h = 40, w = 60;
  int erased = 0;
  for (std::uint32_t k = 0; k < 50; ++k) {
    std::vector<float> pixels(static_cast<std::size_t>(3 * h * w), 100.0f);
    RandomStream random({7, 0, 0, k});
    erasing.apply(pixels, h, w, random);
    std::int64_t top = h, bottom = 0, left = w, right = 0, count = 0;
    for (std::int64_t y = 0; y < h; ++y)
      for (std::int64_t x = 0; x < w; ++x)
        if (pixels[static_cast<std::size_t>(3 * (y * w + x))] != 100.0f) {
          top = std::min(top, y), bottom = std::max(bottom, y + 1);
          left = std::min(left, x), right = std::max(right, x + 1);
          ++count;
        }
    if (count == 0) continue;  // ten rectangles did not fit
    ++erased;
    CHECK(count == (bottom - top) * (right - left));
    const double share = static_cast<double>(count) / static_cast<double>(h * w);
    CHECK(share > 0.015);
    CHECK(share < 0.36);
    for (const float v : pixels) CHECK((v == 100.0f || std::abs(v) < 7));
    const std::vector<float> before = pixels;
    never.apply(pixels, h, w, random);
    CHECK(pixels == before);
  }
  CHECK(erased > 40);
}

TEST_CASE("training transform: a pure function of its key, and the evaluation's when all is off") {
  const Image image = formula_image(48, 64);
  ClassTransform t;
  t.size = 32;
  const auto of = [&](const ClassTransform& transform, std::uint32_t sample) {
    std::vector<float> out(32 * 32 * 3);
    transform.apply(image, {1, 2, 3, sample}, out);
    return out;
  };
  CHECK(of(t, 0) == of(t, 0));
  CHECK(of(t, 0) != of(t, 1));
  for (const float v : of(t, 4)) CHECK(std::isfinite(v));
  t.rand_augment.layers = 0;
  t.jitter = 0.4;
  CHECK(of(t, 0) != of(t, 1));
  t.jitter = t.flip = t.erasing.p = 0;
  t.scale_min = 1;
  const Image square = formula_image(32, 32);
  // A part of all the area that is not square does not fit: the whole picture, as it is.
  std::vector<float> plain(32 * 32 * 3), evaluated(plain.size());
  bool whole = false;
  for (std::uint32_t k = 0; k < 20 && !whole; ++k) {
    t.apply(square, {1, 0, 0, k}, plain);
    ClassEvalTransform e;
    e.size = 32;
    e.share = 1;
    e.apply(square, evaluated);
    whole = plain == evaluated;
  }
  CHECK(whole);
  t.scale_max = 0.5;
  CHECK_THROWS_AS(t.validate(), Error);
}

TEST_CASE("evaluation: short side to size / share, the middle cut out") {
  ClassEvalTransform e;
  e.size = 32;
  e.share = 0.5;  // to 64
  const Image wide = formula_image(64, 100);
  const Image crop = e.crop(wide);
  REQUIRE(crop.width == 32);
  for (std::int64_t y = 0; y < 32; ++y)
    for (std::int64_t i = 0; i < 96; ++i)
      CHECK(crop.pixels[static_cast<std::size_t>(y * 96 + i)] ==
            wide.pixels[static_cast<std::size_t>(3 * ((16 + y) * 100 + 34) + i)]);
  CHECK(e.crop(formula_image(200, 33)).height == 32);
}
