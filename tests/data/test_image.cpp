#include <doctest/doctest.h>

#include <algorithm>

#include "data/files/file.h"
#include "data/images/image.h"
#include "data/images/palette.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

Image grey(const Image& image) {
  Image out = image;
  for (std::size_t i = 0; i < out.pixels.size(); i += 3)
    out.pixels[i + 1] = out.pixels[i + 2] = out.pixels[i];
  return out;
}

Color at(const Image& image, std::int64_t y, std::int64_t x) {
  const auto* p = image.pixels.data() + (y * image.width + x) * 3;
  return {p[0], p[1], p[2]};
}

}  // namespace

TEST_CASE("PNG round trip is exact at odd sizes") {
  const TemporaryFolder folder;
  for (const auto& [h, w] : {std::pair{1, 1}, {3, 7}, {17, 5}, {64, 33}}) {
    const Image image = noise_image(h, w, 3);
    write_png(folder / "a.png", image);
    CHECK(read_image(folder / "a.png").pixels == image.pixels);
    const LabelMap label = noise_label(h, w, 256, 4);
    write_png(folder / "b.png", label);
    CHECK(read_label(folder / "b.png").values == label.values);
    // With a palette the indices survive, those without a colour too.
    write_png(folder / "c.png", label, make_palette(5));
    CHECK(read_label(folder / "c.png").values == label.values);
    CHECK(read_image(folder / "c.png").pixels == colorize(label, make_palette(5)).pixels);
  }
  CHECK(folder.files() == 3);
}

TEST_CASE("PNG of every depth and kind") {
  // 5 x 2 pixels of 1 bit: 10110, 01001
  const FileBytes one = png_file({5, 2, 1, 0}, {0b10110000, 0b01001000});
  CHECK(decode_label(one, "x").values == std::vector<std::uint8_t>{1, 0, 1, 1, 0, 0, 1, 0, 0, 1});
  CHECK(at(decode_image(one, "x"), 0, 2) == Color{255, 255, 255});
  const FileBytes two = png_file({5, 1, 2, 0}, {0b11100100, 0b10000000});
  CHECK(decode_label(two, "x").values == std::vector<std::uint8_t>{3, 2, 1, 0, 2});
  CHECK(at(decode_image(two, "x"), 0, 2) == Color{85, 85, 85});
  const FileBytes four = png_file({3, 1, 4, 3}, {0x20, 0x10}, {{9, 8, 7}, {6, 5, 4}, {3, 2, 1}});
  CHECK(decode_label(four, "x").values == std::vector<std::uint8_t>{2, 0, 1});
  CHECK(at(decode_image(four, "x"), 0, 0) == Color{3, 2, 1});
  const FileBytes wide = png_file({2, 1, 16, 0}, {0, 7, 0, 255});
  CHECK(decode_label(wide, "x").values == std::vector<std::uint8_t>{7, 255});
  const FileBytes deep = png_file({1, 1, 16, 2}, {200, 9, 100, 255, 50, 128});
  CHECK(at(decode_image(deep, "x"), 0, 0) == Color{200, 100, 50});
  // Alpha is ignored, however transparent.
  const FileBytes alpha = png_file({2, 1, 8, 6}, {10, 20, 30, 0, 40, 50, 60, 128});
  CHECK(at(decode_image(alpha, "x"), 0, 0) == Color{10, 20, 30});
  CHECK(at(decode_image(alpha, "x"), 0, 1) == Color{40, 50, 60});
  const FileBytes grey_alpha = png_file({1, 1, 8, 4}, {77, 3});
  CHECK(at(decode_image(grey_alpha, "x"), 0, 0) == Color{77, 77, 77});
  const Image image = noise_image(11, 13, 8);
  CHECK(decode_image(png_file({13, 11, 8, 2, true}, image.pixels), "x").pixels == image.pixels);
}

TEST_CASE("labels that are no class indices are refused") {
  const std::string rgb =
      input_error([] { decode_label(encode_png(noise_image(2, 2, 1)), "mask.png"); });
  CHECK(rgb.find("mask.png") == 0);
  CHECK(rgb.find("convert") != std::string::npos);
  const std::string large = input_error([] {
    decode_label(png_file({1, 2, 16, 0}, {0, 1, 1, 0}), "m");
  });
  CHECK(large.find("label 256 at (0, 1)") != std::string::npos);
  CHECK(!input_error([] { decode_label(encode_jpeg(smooth_image(8, 8)), "m"); }).empty());
}

TEST_CASE("JPEG: colour, grey, progressive, CMYK") {
  const Image image = smooth_image(37, 50);
  CHECK(largest_difference(decode_image(encode_jpeg(image, 98), "x"), image) <= 4);
  CHECK(largest_difference(decode_image(jpeg_file({3, true}, 37, 50, image.pixels), "x"), image) <=
        12);
  FileBytes luma, inverted;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    luma.push_back(image.pixels[i]);
    for (std::size_t c = 0; c < 3; ++c) inverted.push_back(image.pixels[i + c]);
    inverted.push_back(255);
  }
  CHECK(largest_difference(decode_image(jpeg_file({1}, 37, 50, luma), "x"), grey(image)) <= 4);
  CHECK(largest_difference(decode_image(jpeg_file({4}, 37, 50, inverted), "x"), image) <= 6);
  // Without Adobe's marker the same, as Pillow has it.
  CHECK(decode_image(jpeg_file({4, false, false}, 37, 50, inverted), "x").pixels ==
        decode_image(jpeg_file({4}, 37, 50, inverted), "x").pixels);
}

TEST_CASE("EXIF orientation turns a JPEG upright") {
  // Four quarters of an upright 32 x 48 picture; each orientation is stored turned accordingly.
  const Color colors[2][2] = {{{220, 40, 40}, {40, 200, 60}}, {{40, 60, 220}, {230, 220, 60}}};
  constexpr int kH = 32, kW = 48;
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const bool turned = orientation >= 5;
    const int sh = turned ? kW : kH, sw = turned ? kH : kW;
    Image stored{sh, sw, {}};
    for (int y = 0; y < sh; ++y)
      for (int x = 0; x < sw; ++x) {
        // Where row 0 and column 0 of the stored picture lie (EXIF 2.3, table of tag 0x0112).
        int top = 0, left = 0;
        switch (orientation) {
          case 1:
            top = y, left = x;
            break;  // top, left
          case 2:
            top = y, left = kW - 1 - x;
            break;  // top, right
          case 3:
            top = kH - 1 - y, left = kW - 1 - x;
            break;  // bottom, right
          case 4:
            top = kH - 1 - y, left = x;
            break;  // bottom, left
          case 5:
            top = x, left = y;
            break;  // left, top
          case 6:
            top = x, left = kW - 1 - y;
            break;  // right, top
          case 7:
            top = kH - 1 - x, left = kW - 1 - y;
            break;  // right, bottom
          default:
            top = kH - 1 - x, left = y;
            break;  // left, bottom
        }
        const Color c = colors[top * 2 / kH][left * 2 / kW];
        stored.pixels.insert(stored.pixels.end(), c.begin(), c.end());
      }
    for (const bool big_endian : {false, true}) {
      CAPTURE(orientation);
      const Image upright =
          decode_image(with_orientation(encode_jpeg(stored, 98), orientation, big_endian), "x");
      REQUIRE(upright.height == kH);
      REQUIRE(upright.width == kW);
      for (int y = 0; y < 2; ++y)
        for (int x = 0; x < 2; ++x)
          for (std::size_t c = 0; c < 3; ++c)
            CHECK(std::abs(at(upright, kH / 4 + y * kH / 2, kW / 4 + x * kW / 2)[c] -
                           colors[y][x][c]) < 12);
    }
  }
  // Nonsense values leave the picture as it is.
  for (const int nonsense : {0, 9, 255})
    CHECK(decode_image(with_orientation(encode_jpeg(smooth_image(8, 24)), nonsense, true), "x")
              .width == 24);
}

TEST_CASE("EXIF orientation turns a PNG upright, wherever the chunk stands") {
  const Image image = noise_image(3, 5, 1);
  Image right{5, 3, {}};  // orientation 6: row 0 is the right side
  for (int y = 0; y < 5; ++y)
    for (int x = 0; x < 3; ++x) {
      const Color c = at(image, 2 - x, y);
      right.pixels.insert(right.pixels.end(), c.begin(), c.end());
    }
  for (const bool at_end : {false, true})
    for (const FileBytes& png : {encode_png(image), png_file({5, 3, 8, 2, true}, image.pixels)}) {
      const Image upright = decode_image(with_exif(png, 6, at_end), "x");
      CHECK(upright.height == 5);
      CHECK(upright.pixels == right.pixels);
      const ImagePart part = decode_image_part(with_exif(png, 6, at_end), "x", {0, 0, 1, 1}, 5, 3);
      CHECK(part.height == 5);
      CHECK(part.image.pixels == right.pixels);
      CHECK(decode_image(with_exif(png, 1, at_end), "x").pixels == image.pixels);
    }
}

TEST_CASE("BMP: colours where the masks say") {
  const std::vector<std::uint32_t> rgb{0xff0000, 0x00ff00, 0x0000ff};
  CHECK(at(decode_image(bmp_with_masks(1, 32, rgb, {0xaa123456}), "x"), 0, 0) ==
        Color{0x12, 0x34, 0x56});
  CHECK(at(decode_image(bmp_with_masks(1, 32, {rgb[2], rgb[1], rgb[0]}, {0xaa123456}), "x"), 0,
           0) == Color{0x56, 0x34, 0x12});
  CHECK(at(decode_image(bmp_with_masks(1, 32, {0xff000000, 0xff0000, 0xff00}, {0x123456aa}), "x"),
           0, 0) == Color{0x12, 0x34, 0x56});
  const Image deep = decode_image(
      bmp_with_masks(1, 32, {0x3ff00000, 0xffc00, 0x3ff}, {0x3ff00000u | 512u << 10}), "x");
  CHECK(at(deep, 0, 0) == Color{255, 127, 0});
  const Image five = decode_image(
      bmp_with_masks(3, 16, {0xf800, 0x07e0, 0x001f}, {0xffff, 0xf800 | 32 << 5, 17}), "x");
  CHECK(at(five, 0, 0) == Color{255, 255, 255});
  CHECK(at(five, 0, 1) == Color{255, 32 * 255 / 63, 0});
  CHECK(at(five, 0, 2) == Color{0, 0, 17 * 255 / 31});
  CHECK(at(decode_image(bmp_with_masks(1, 16, {}, {0x7c00 | 16 << 5 | 1}), "x"), 0, 0) ==
        Color{255, 16 * 255 / 31, 255 / 31});
  for (const std::uint32_t odd : {0u, 0xf0f0u})
    CHECK(input_error([&] {
            decode_image(bmp_with_masks(1, 32, {odd, 1, 2}, {0}), "x");
          }).find("colour mask") != std::string::npos);
}

TEST_CASE("BMP and portable pixmaps") {
  const Image image = noise_image(5, 7, 2);
  for (const bool top_down : {false, true}) {
    CHECK(decode_image(bmp_file(image, 24, top_down), "x").pixels == image.pixels);
    CHECK(decode_image(bmp_file(image, 32, top_down), "x").pixels == image.pixels);
    CHECK(decode_image(bmp_file(grey(image), 8, top_down), "x").pixels == grey(image).pixels);
  }
  FileBytes ppm = bytes_of("P6 # a comment\n7\n# another\n 5\t255\n");
  ppm.insert(ppm.end(), image.pixels.begin(), image.pixels.end());
  CHECK(decode_image(ppm, "x").pixels == image.pixels);
  FileBytes pgm = bytes_of("P5\n2 1\n255\n");
  pgm.insert(pgm.end(), {12, 250});
  CHECK(at(decode_image(pgm, "x"), 0, 1) == Color{250, 250, 250});
  FileBytes deep = bytes_of("P5 2 1 65535\n");
  deep.insert(deep.end(), {12, 250, 3, 4});
  CHECK(at(decode_image(deep, "x"), 0, 0) == Color{12, 12, 12});
  FileBytes small = bytes_of("P5 2 1 3 ");
  small.insert(small.end(), {3, 1});
  CHECK(at(decode_image(small, "x"), 0, 0) == Color{255, 255, 255});
  CHECK(at(decode_image(small, "x"), 0, 1) == Color{85, 85, 85});
}

TEST_CASE("writers refuse what does not fit") {
  CHECK_THROWS_AS(encode_png(Image{2, 2, {1, 2, 3}}), Error);
  CHECK_THROWS_AS(encode_jpeg(Image{0, 5, {}}), Error);
  CHECK_THROWS_AS(encode_jpeg(noise_image(2, 2, 1), 101), Error);
  CHECK_THROWS_AS(encode_png(noise_label(2, 2, 2, 1), Palette(257)), Error);
}

TEST_CASE("palettes, colour maps and overlays") {
  const Palette palette = make_palette(150);
  for (std::size_t i = 0; i < palette.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(palette[i] != palette[j]);
  CHECK(make_palette(3) == Palette(palette.begin(), palette.begin() + 3));
  const LabelMap label{1, 3, {1, 255, 0}};
  const Palette two{{100, 0, 0}, {0, 200, 0}};
  CHECK(colorize(label, two).pixels == std::vector<std::uint8_t>{0, 200, 0, 0, 0, 0, 100, 0, 0});
  const Image image{1, 3, {10, 20, 30, 40, 50, 60, 70, 80, 90}};
  CHECK(overlay(image, label, two, 0.5).pixels ==
        std::vector<std::uint8_t>{5, 110, 15, 40, 50, 60, 85, 40, 45});
  CHECK_THROWS_AS(overlay(noise_image(2, 2, 1), label, two), Error);
}
