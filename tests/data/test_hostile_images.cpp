// No picture file, however damaged, does worse than an InputError that names it.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <zlib.h>

#include <algorithm>

#include "data/images/codecs.h"
#include "data/images/image.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

std::vector<FileBytes> samples() {
  const Image image = noise_image(9, 11, 5), smooth = smooth_image(16, 24);
  FileBytes ppm = bytes_of("P6 11 9 255\n");
  ppm.insert(ppm.end(), image.pixels.begin(), image.pixels.end());
  return {encode_png(image),
          encode_png(noise_label(9, 11, 7, 1), Palette(7)),
          png_file({13, 9, 8, 2, true}, FileBytes(13 * 9 * 3, 9)),
          png_file({9, 4, 2, 0}, FileBytes(12, 0xb1)),
          encode_jpeg(smooth),
          jpeg_file({3, true}, 16, 24, smooth.pixels),
          with_orientation(encode_jpeg(smooth), 6, true),
          with_exif(encode_png(image), 8, false),
          bmp_with_masks(3, 16, {0xf800, 0x07e0, 0x001f}, {1, 2, 3, 4, 5, 6}),
          bmp_file(image, 24, false),
          bmp_file(image, 8, true),
          ppm};
}

// True if it decodes, false after an InputError; anything else fails the test.
bool decodes(const FileBytes& bytes) {
  try {
    const Image image = decode_image(bytes, "picture");
    CHECK(image.pixels.size() == static_cast<std::size_t>(image.height * image.width * 3));
    return true;
  } catch (const InputError& e) {
    const std::string what = e.what();
    CHECK(what.find("picture: ") == 0);
    CHECK(what.find('\n') == std::string::npos);
    return false;
  }
}

}  // namespace

TEST_CASE("a picture cut at any length is an error, never half a picture") {
  for (const FileBytes& file : samples()) {
    REQUIRE(decodes(file));
    for (std::size_t n = 0; n < file.size(); ++n) {
      CAPTURE(n);
      CAPTURE(file.size());
      const FileBytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(n));
      // A PNG may lack the last four bytes, the checksum of its empty end mark.
      if (decodes(cut)) {
        CHECK(n >= file.size() - 4);
        CHECK(decode_image(cut, "x").pixels == decode_image(file, "x").pixels);
      }
    }
  }
}

TEST_CASE("random damage never crashes") {
  RandomStream random({7});
  for (const FileBytes& file : samples())
    for (int round = 0; round < 400; ++round) {
      FileBytes damaged = file;
      for (std::uint64_t n = 1 + random.below(4); n > 0; --n)
        damaged[random.below(damaged.size())] = static_cast<std::uint8_t>(random.next());
      decodes(damaged);
      try {
        decode_label(damaged, "picture");
      } catch (const InputError&) {
      }
    }
}

TEST_CASE("absurd sizes are refused before memory is taken") {
  CHECK_FALSE(decodes(bytes_of("P6 99999999 99999999 255\nx")));
  CHECK_FALSE(decodes(bytes_of("P6 16000 16000 255\nx")));
  CHECK_FALSE(decodes(bytes_of("P6 0 5 255\nx")));
  CHECK_FALSE(decodes(bytes_of("P6 -3 5 255\nx")));
  FileBytes png = encode_png(noise_image(3, 3, 1));
  for (const std::size_t at : {16u, 20u}) {  // width and height; the checksum no longer fits either
    FileBytes huge = png;
    huge[at] = 0x7f;
    CHECK_FALSE(decodes(huge));
  }
  FileBytes bmp = bmp_file(noise_image(3, 3, 1), 24, false);
  bmp[21] = 0x80;  // the smallest width there is
  CHECK_FALSE(decodes(bmp));
  bmp[21] = 0x7f;
  CHECK_FALSE(decodes(bmp));
  FileBytes jpeg = encode_jpeg(smooth_image(8, 8));
  for (std::size_t i = 0; i + 8 < jpeg.size(); ++i)
    if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) jpeg[i + 5] = jpeg[i + 7] = 0xff;
  CHECK_FALSE(decodes(jpeg));
}

TEST_CASE("the limit on pixels holds for every format, and can be raised") {
  struct Limit {  // puts it back
    std::int64_t before = max_pixels();
    explicit Limit(std::int64_t pixels) { set_max_pixels(pixels); }
    ~Limit() { set_max_pixels(before); }
  };
  const Image image = smooth_image(20, 30);
  const FileBytes label = encode_png(noise_label(20, 30, 3, 1));
  FileBytes ppm = bytes_of("P6 30 20 255\n");
  ppm.insert(ppm.end(), image.pixels.begin(), image.pixels.end());
  const FileBytes progressive = jpeg_file({3, true}, 20, 30, image.pixels);
  for (const FileBytes& file :
       {encode_png(image), encode_jpeg(image), bmp_file(image, 24, false), ppm, progressive}) {
    const std::int64_t weight = file == progressive ? 3 : 1;
    {
      const Limit low(600 * weight - 1);
      const std::string message = input_error([&] { decode_image(file, "big"); });
      CHECK(message.find("big: 30 x 20 pixels") == 0);
      CHECK(message.find("raise --max-pixels") != std::string::npos);
      CHECK_THROWS_AS(decode_image_part(file, "big", {0, 0, 5, 5}, 20, 30), InputError);
    }
    const Limit enough(600 * weight);
    CHECK(decodes(file));
  }
  const Limit low(599);
  CHECK_THROWS_AS(decode_label(label, "big"), InputError);
  CHECK_THROWS_AS(set_max_pixels(0), Error);
  CHECK(max_pixels() == 599);
}

TEST_CASE("a progressive JPEG of endless scans is refused") {
  const FileBytes file = jpeg_file({1, true}, 16, 16, FileBytes(256, 90));
  std::size_t scan = 0;  // the first of DC, which may come again and again
  while (file[scan] != 0xff || file[scan + 1] != 0xda) ++scan;
  std::size_t next = scan + 2;
  while (file[next] != 0xff || file[next + 1] == 0) ++next;
  FileBytes endless(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(scan));
  for (int n = 0; n < 600; ++n)
    endless.insert(endless.end(), file.begin() + static_cast<std::ptrdiff_t>(scan),
                   file.begin() + static_cast<std::ptrdiff_t>(next));
  endless.insert(endless.end(), {0xff, 0xd9});
  CHECK(decodes(file));
  CHECK_FALSE(decodes(endless));
}

TEST_CASE("text and colour profiles that unpack to gigabytes are refused or passed over") {
  // 300 MB of zeros, deflated once.
  FileBytes packed(1 << 20);
  z_stream stream{};
  REQUIRE(deflateInit(&stream, 9) == Z_OK);
  const FileBytes zeros(1 << 20);
  stream.next_out = packed.data();
  stream.avail_out = static_cast<unsigned>(packed.size());
  for (int n = 0; n < 300; ++n) {
    stream.next_in = const_cast<Bytef*>(zeros.data());
    stream.avail_in = static_cast<unsigned>(zeros.size());
    REQUIRE(deflate(&stream, n == 299 ? Z_FINISH : Z_NO_FLUSH) >= 0);
  }
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  const FileBytes png = encode_png(noise_image(4, 4, 1));
  rusage before{}, after{};
  REQUIRE(getrusage(RUSAGE_SELF, &before) == 0);
  for (const char* type : {"iCCP", "zTXt"}) {
    FileBytes content = bytes_of(std::string("name\0\0", 6));
    content.insert(content.end(), packed.begin(), packed.end());
    const FileBytes chunk = png_chunk(type, content);
    FileBytes bomb = png;
    bomb.insert(bomb.begin() + 33, chunk.begin(), chunk.end());
    decodes(bomb);
  }
  REQUIRE(getrusage(RUSAGE_SELF, &after) == 0);
  CHECK(after.ru_maxrss - before.ru_maxrss < 200 * 1024);  // kB
}

TEST_CASE("EXIF of any content gives an orientation") {
  RandomStream random({9});
  const FileBytes good = with_orientation({0xff, 0xd8}, 6, false);
  const FileBytes app1(good.begin() + 6, good.end());
  CHECK(codecs::exif_orientation(app1) == 6);
  for (std::size_t n = 0; n < app1.size(); ++n) codecs::exif_orientation({app1.data(), n});
  for (int round = 0; round < 2000; ++round) {
    FileBytes damaged = app1;
    damaged[6 + random.below(damaged.size() - 6)] = static_cast<std::uint8_t>(random.next());
    const int orientation = codecs::exif_orientation(damaged);
    CHECK(orientation >= 1);
    CHECK(orientation <= 8);
  }
}

TEST_CASE("files that are no pictures") {
  CHECK_FALSE(decodes({}));
  CHECK_FALSE(decodes(bytes_of("hello")));
  CHECK_FALSE(decodes(bytes_of("GIF89a....")));
  const auto said = [](const std::string& bytes) {
    return input_error([&] { decode_image(bytes_of(bytes), "f"); });
  };
  CHECK(said("") == "f: is empty (0 bytes); copy or download it again");
  CHECK(said("GIF89a").find("f: is a GIF; no JPEG, PNG") == 0);
  CHECK(said(std::string("RIFF\1\2\3\4WEBPVP8 ")).find("f: is a WebP;") == 0);
  CHECK(said("<!DOCTYPE html>").find("f: is a web page") == 0);
  CHECK(input_error([] { decode_label(encode_jpeg(smooth_image(8, 8)), "f"); }) ==
        "f: is a JPEG; no PNG; labels are grey or palette PNG files");
  CHECK(input_error([] { read_image("/no/such/picture.png"); }).find("/no/such/picture.png") == 0);
  const TemporaryFolder folder;
  CHECK(input_error([&] { read_image(folder.path()); }).find(folder.path()) == 0);
}
