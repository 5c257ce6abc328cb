// What `segnext data inspect` counts and draws.
#include <doctest/doctest.h>

#include <filesystem>

#include "apps/report/contact_sheet.h"
#include "apps/report/tables.h"
#include "data/files/file.h"
#include "tests/data/miniatures.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

DatasetStatistics statistics_of(const Dataset& dataset) {
  DatasetStatistics s(dataset.num_classes());
  for (std::int64_t i = 0; i < dataset.size(); ++i) s.add(measure(dataset, i));
  return s;
}

TrainTransform little_transform() {
  TrainTransform t;
  t.crop_h = 48;
  t.crop_w = 64;
  return t;
}

}  // namespace

TEST_CASE("frequencies, sizes and absent classes are counted exactly") {
  const TemporaryFolder folder;
  make_miniature("camvid", folder.path());
  const auto data = make_dataset({"camvid", folder.path()}, "train");
  const DatasetStatistics s = statistics_of(*data);
  CHECK(s.read() == 4);
  CHECK(s.problems().empty());
  std::int64_t pixels = 0, ignored = 0, sky = 0, with_sky = 0;
  for (std::int64_t i = 0; i < 4; ++i) {
    const auto label = data->load(i).label;
    const auto of = [&](int v) { return std::count(label.values.begin(), label.values.end(), v); };
    pixels += label.height * label.width;
    ignored += of(255);
    sky += of(0);
    with_sky += of(0) > 0;
  }
  CHECK(s.ignored() == ignored);
  CHECK(s.labelled() == pixels - ignored);
  CHECK(s.pixels(0) == sky);
  CHECK(s.images(0) == with_sky);
  CHECK(s.absent() == std::vector<int>{1, 2, 4, 5, 6, 7, 8, 9});
  const auto sizes = s.sizes();  // 47x61, 50x72, 64x64, 33x90 as height x width
  CHECK(sizes[0] == std::pair<std::int64_t, std::int64_t>{47, 61});
  CHECK(sizes[1] == std::pair<std::int64_t, std::int64_t>{50, 72});
  CHECK(sizes[2] == std::pair<std::int64_t, std::int64_t>{64, 64});
  const std::string table = frequency_table(s, *data, false);
  CHECK(std::count(table.begin(), table.end(), '\n') == 12);
  CHECK(table.find('\x1b') == std::string::npos);
  CHECK(table.find("Bicyclist") != std::string::npos);
  CHECK(frequency_table(s, *data, true).find("\x1b[48;2;128;128;128m") != std::string::npos);
  const auto json = statistics_json(s, *data);
  CHECK(json["classes"][0]["pixels"] == sky);
  CHECK(json["sizes"]["largest"] == nlohmann::json({64, 64}));
}

TEST_CASE("a file that cannot be read is a problem, not the end") {
  const TemporaryFolder folder;
  make_miniature("camvid", folder.path());
  const auto data = make_dataset({"camvid", folder.path()}, "train");
  write_file_atomic(data->label_path(1), std::string_view("x"));
  write_file_atomic(data->image_path(3), std::string_view("y"));
  const DatasetStatistics s = statistics_of(*data);
  CHECK(s.read() == 2);
  REQUIRE(s.problems().size() == 2);
  CHECK(s.problems()[0].find(data->label_path(1)) == 0);
  CHECK(s.problems()[1].find(data->image_path(3)) == 0);
  const Image sheet = contact_sheet(*data, little_transform(), {4, 2, 64, 0});
  CHECK(sheet.height > 48);
  for (const std::int64_t i : {0, 2}) write_file_atomic(data->label_path(i), std::string_view("x"));
  CHECK(input_error([&] { contact_sheet(*data, little_transform(), {}); }).find(folder.path()) ==
        0);
  CHECK_THROWS_AS(DatasetStatistics(3).sizes(), Error);
}

TEST_CASE("the contact sheet shows samples as trained on, repeatably") {
  const TemporaryFolder folder;
  make_miniature("voc", folder.path());
  const auto data = make_dataset({"voc", folder.path()}, "train");
  const TrainTransform t = little_transform();
  const Image sheet = contact_sheet(*data, t, {3, 2, 64, 7});
  CHECK(sheet.pixels.size() == static_cast<std::size_t>(sheet.height * sheet.width * 3));
  CHECK(sheet.pixels == contact_sheet(*data, t, {3, 2, 64, 7}).pixels);
  CHECK(sheet.pixels != contact_sheet(*data, t, {3, 2, 64, 8}).pixels);
  // Larger crops than cells are made smaller; more pictures than there are, are not.
  const Image little = contact_sheet(*data, t, {100, 4, 32, 7});
  CHECK(little.width < 4 * (2 * 32 + 24));
  const auto test = make_dataset({"voc", folder.path()}, "test");
  CHECK_THROWS_AS(contact_sheet(*test, t, {}), Error);
}

TEST_CASE("letters are dots of their colour, cut at the edges") {
  Image image{12, 20, std::vector<std::uint8_t>(12 * 20 * 3, 255)};
  draw_text(image, 0, 0, "l?", {1, 2, 3});
  const auto dark = [&](std::int64_t x, std::int64_t y) {
    return image.pixels[static_cast<std::size_t>(3 * (y * 20 + x))] == 1;
  };
  CHECK(dark(0, 0));
  CHECK(dark(1, 9));
  CHECK(dark(5, 8));
  CHECK_FALSE(dark(4, 0));
  CHECK_FALSE(dark(8, 0));
  draw_text(image, -3, -3, "WWWWWW", {1, 2, 3});
  CHECK(image.pixels.size() == 12 * 20 * 3);
}
