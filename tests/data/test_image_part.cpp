// Parts of pictures: the same pixels as of the whole, and what they save.
#include <doctest/doctest.h>

#include "data/augment/transforms.h"
#include "tensor/error.h"
#include "tensor/random.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

// Smooth, so that JPEG keeps it, and different everywhere.
Image gradient(std::int64_t height, std::int64_t width) {
  Image image{height, width, {}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (const std::int64_t v : {x * 3 + y, y * 2 + x / 3, 255 - x - y / 2})
        image.pixels.push_back(static_cast<std::uint8_t>(v & 255));
  return image;
}

struct File {
  const char* name;
  FileBytes bytes;
};

std::vector<File> files(const Image& image) {
  std::vector<std::uint8_t> grey;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) grey.push_back(image.pixels[i]);
  const int h = static_cast<int>(image.height), w = static_cast<int>(image.width);
  return {{"4:2:0", jpeg_file({.components = 3}, h, w, image.pixels)},
          {"progressive", jpeg_file({.components = 3, .progressive = true}, h, w, image.pixels)},
          {"grey", jpeg_file({.components = 1}, h, w, grey)},
          {"4:4:4", encode_jpeg(image, 95)},
          {"png", encode_png(image)}};
}

Image cut(const Image& image, const Rectangle& r) {
  Image part{r.height, r.width, {}};
  for (std::int64_t y = r.top; y < r.top + r.height; ++y) {
    const auto from = image.pixels.begin() + 3 * (y * image.width + r.left);
    part.pixels.insert(part.pixels.end(), from, from + 3 * r.width);
  }
  return part;
}

Image cut(const ImagePart& part, Rectangle r) {
  REQUIRE(r.top >= part.top);
  REQUIRE(r.left >= part.left);
  REQUIRE(r.top + r.height <= part.top + part.image.height);
  REQUIRE(r.left + r.width <= part.left + part.image.width);
  r.top -= part.top;
  r.left -= part.left;
  return cut(part.image, r);
}

Rectangle random_rectangle(std::int64_t height, std::int64_t width, RandomStream& random) {
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n)));
  };
  Rectangle r{below(height), below(width), 0, 0};
  r.height = 1 + below(height - r.top);
  r.width = 1 + below(width - r.left);
  return r;
}

}  // namespace

TEST_CASE("a part of a picture has the pixels of the whole, also at 1/2, 1/4 and 1/8") {
  RandomStream random({11, 0, 0, 0});
  for (const auto& [h, w] : {std::pair(97, 211), std::pair(64, 64), std::pair(1, 300)}) {
    for (const File& file : files(gradient(h, w))) {
      CAPTURE(file.name);
      for (const int reduce : {1, 2, 4, 8}) {
        CAPTURE(reduce);
        const std::int64_t rh = (h + reduce - 1) / reduce, rw = (w + reduce - 1) / reduce;
        const ImagePart whole =
            decode_image_part(file.bytes, "whole", {0, 0, rh, rw}, h, w, reduce);
        const bool png = std::string(file.name) == "png";
        CHECK(whole.height == (png ? h : rh));
        CHECK(whole.width == (png ? w : rw));
        if (reduce == 1) CHECK(whole.image.pixels == decode_image(file.bytes, "all").pixels);
        for (int k = 0; k < 12; ++k) {
          const Rectangle r = random_rectangle(rh, rw, random);
          const ImagePart part = decode_image_part(file.bytes, "part", r, h, w, reduce);
          CHECK(part.height == whole.height);
          CHECK(part.width == whole.width);
          CHECK(cut(part, r).pixels == cut(whole, r).pixels);
        }
      }
    }
  }
}

TEST_CASE("a part of a turned picture is all of it, upright") {
  const Image image = gradient(40, 70);
  const FileBytes turned = with_orientation(encode_jpeg(image, 95), 6, true);
  const ImagePart part = decode_image_part(turned, "turned", {3, 4, 5, 6}, 70, 40, 2);
  CHECK(part.height == 70);
  CHECK(part.image.pixels == decode_image(turned, "all").pixels);
}

TEST_CASE("a part: sizes that disagree, cut and broken files") {
  for (const File& file : files(gradient(80, 90))) {
    CAPTURE(file.name);
    CHECK_THROWS_AS(decode_image_part(file.bytes, "f", {0, 0, 8, 8}, 90, 80), InputError);
    // Wherever the crop of a larger (or smaller) label map lies.
    for (const Rectangle& r : {Rectangle{200, 10, 8, 8}, Rectangle{10, 200, 8, 8}})
      for (const int reduce : {1, 2})
        CHECK(input_error([&] {
                decode_image_part(file.bytes, "f", r, 500, 500, reduce);
              }).find("f: 90 x 80 pixels, but its labels are 500 x 500") == 0);
    CHECK_THROWS_AS(decode_image_part(file.bytes, "f", {40, 0, 8, 8}, 80, 90, 2), Error);
    // Told by the header: of what follows nothing need be there.
    const FileBytes head(file.bytes.begin(), file.bytes.end() - 40);
    CHECK(input_error([&] {
            decode_image_part(head, "f", {0, 0, 8, 8}, 500, 500);
          }).find("f: 90 x 80 pixels, but") == 0);
    for (std::size_t n = 0; n < file.bytes.size(); n += 1 + file.bytes.size() / 40) {
      const FileBytes shorter(file.bytes.begin(), file.bytes.begin() + static_cast<long>(n));
      CHECK_THROWS_AS(decode_image_part(shorter, "f", {0, 0, 80, 90}, 80, 90), InputError);
      try {  // what is there may be enough for less
        decode_image_part(shorter, "f", {10, 10, 8, 8}, 80, 90, 2);
      } catch (const InputError&) {
      }
    }
  }
}

TEST_CASE("training crops of a part are those of the whole picture") {
  TrainTransform t;
  t.crop_h = 48;
  t.crop_w = 56;
  t.scale_min = 0.3;
  t.reduced_decoding = false;
  const Image image = gradient(97, 211);
  LabelMap label{97, 211, {}};
  for (std::int64_t i = 0; i < 97 * 211; ++i)
    label.values.push_back(static_cast<std::uint8_t>(i / 50 % 4));
  for (const File& file : files(image)) {
    CAPTURE(file.name);
    const Image decoded = decode_image(file.bytes, "f");
    const auto load = [&](const Rectangle& wanted, int reduce) {
      return decode_image_part(file.bytes, "f", wanted, 97, 211, reduce);
    };
    double change = 0;
    for (std::uint64_t k = 0; k < 12; ++k) {
      const std::size_t n = 48 * 56;
      std::vector<float> a(3 * n), b(3 * n), c(3 * n);
      std::vector<std::int32_t> la(n), lb(n), lc(n);
      t.apply(decoded, label, {k, 0, 0, 0}, a, la);
      t.apply(label, load, {k, 0, 0, 0}, b, lb);
      CHECK(a == b);
      CHECK(la == lb);
      TrainTransform reduced = t;
      reduced.reduced_decoding = true;
      reduced.photometric.enabled = false;
      reduced.apply(label, load, {k, 0, 0, 0}, c, lc);
      CHECK(lc == la);
      TrainTransform plain = t;
      plain.photometric.enabled = false;
      plain.apply(decoded, label, {k, 0, 0, 0}, a, la);
      for (std::size_t i = 0; i < a.size(); ++i) change += std::abs(a[i] - c[i]) / double(3 * n);
    }
    CHECK(change / 12 < 0.3);  // of one deviation: the same picture, less aliased
  }
}

TEST_CASE("how much smaller a JPEG may be decoded") {
  const TrainTransform t;
  CHECK(t.reduction({100, 200, 0, 0, 10, 10}, 100, 200) == 1);
  CHECK(t.reduction({51, 100, 0, 0, 10, 10}, 100, 200) == 1);
  CHECK(t.reduction({50, 100, 0, 0, 10, 10}, 100, 200) == 2);
  CHECK(t.reduction({50, 100, 0, 0, 10, 10}, 99, 199) == 2);
  CHECK(t.reduction({25, 50, 0, 0, 10, 10}, 100, 200) == 4);
  CHECK(t.reduction({3, 5, 0, 0, 3, 5}, 100, 200) == 8);
}
