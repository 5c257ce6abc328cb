#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "data/datasets/dataset.h"
#include "data/files/file.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

std::string camvid_error(const TemporaryFolder& folder) {
  return input_error([&] {
    const auto data = make_dataset({"camvid", folder.path()}, "train");
    for (std::int64_t i = 0; i < data->size(); ++i) data->load(i);
  });
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr const char* kDescription = R"(classes = ["leaf", "stem"]
palette = [[0, 200, 0], [200, 120, 0]]
ignore_label = 9
reduce_zero_label = true
label_suffix = "_gt.png"
[train]
images = "both"
labels = "both"
[val]
images = "empty"
labels = "empty"
)";

std::string folder_error(const TemporaryFolder& folder, const std::string& toml) {
  write_file_atomic(folder / "bad.toml", std::string_view(toml));
  const std::string error = input_error([&] {
    make_dataset({"folder", folder / "bad.toml"}, "train");
  });
  CHECK(error.find('\n') == std::string::npos);
  return error;
}

}  // namespace

TEST_CASE("CamVid's layout") {
  const TemporaryFolder folder;
  const Image image = noise_image(4, 3, 1);
  write_png(folder / "images/train/b.png", image);
  write_file_atomic(folder / "images/train/a.jpg", encode_jpeg(smooth_image(2, 6)));
  write_png(folder / "labels/train/b.png", LabelMap{4, 3, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}});
  write_png(folder / "labels/train/a.png", noise_label(2, 6, 11, 1));
  const auto data = make_dataset({"camvid", folder.path()}, "train");
  REQUIRE(data->size() == 2);
  CHECK(data->num_classes() == 11);
  CHECK(data->palette().size() == 11);
  CHECK(data->classes()[8] == "Car");
  CHECK(data->name(0) == "a");
  const Sample sample = data->load(1);
  CHECK(sample.name == "b");
  CHECK(sample.image.pixels == image.pixels);
  CHECK(sample.label.values ==
        std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, kIgnoreLabel});
  CHECK_THROWS_AS(data->load(2), Error);
}

TEST_CASE("CamVid: every mistake is named") {
  const TemporaryFolder folder;
  CHECK(has(input_error([] { make_dataset({"camvid", "/no/such"}, "train"); }), "/no/such"));
  CHECK(has(input_error([] { make_dataset({"camvid", ""}, "train"); }), "root"));
  CHECK(has(camvid_error(folder), "no images or labels"));
  std::filesystem::create_directories(folder / "images/x");
  CHECK(has(camvid_error(folder), "images/train: no such folder"));
  std::filesystem::create_directories(folder / "images/train/x");
  std::filesystem::create_directories(folder / "labels/train/x");
  CHECK(has(camvid_error(folder), "no image"));
  write_png(folder / "images/train/a.png", noise_image(4, 3, 1));
  CHECK(has(camvid_error(folder), "a.png: has no label"));
  write_png(folder / "labels/train/a.png", noise_label(3, 4, 11, 1));
  const std::string size = camvid_error(folder);
  CHECK(has(size, "labels/train/a.png"));
  CHECK(has(size, "4 x 3"));
  write_png(folder / "labels/train/a.png", LabelMap{4, 3, std::vector<std::uint8_t>(12, 12)});
  CHECK(has(camvid_error(folder), "label 12 at (0, 0)"));
  write_png(folder / "labels/train/a.png", noise_image(4, 3, 1));
  CHECK(has(camvid_error(folder), "labels/train/a.png: is a colour picture"));
  write_png(folder / "labels/train/a.png", noise_label(4, 3, 11, 1));
  CHECK(camvid_error(folder).empty());
  write_png(folder / "labels/train/b.png", noise_label(4, 3, 11, 1));
  CHECK(has(camvid_error(folder), "b.png: has no image"));
  write_png(folder / "images/train/b.png", noise_image(4, 3, 1));
  write_file_atomic(folder / "images/train/b.ppm", std::string_view("P6"));
  CHECK(has(camvid_error(folder), "same name"));
  for (const char* split : {"", "../x", "a/b", "."})
    CHECK(!input_error([&] { make_dataset({"camvid", folder.path()}, split); }).empty());
  CHECK(has(input_error([] { make_dataset({"imagenet", ""}, "train"); }), "imagenet"));
}

TEST_CASE("a described pair of folders") {
  const TemporaryFolder folder;
  write_file_atomic(folder / "data.toml", std::string_view(kDescription));
  std::filesystem::create_directories(folder / "empty");
  write_png(folder / "both/one.png", noise_image(1, 5, 1));
  write_png(folder / "both/one_gt.png", LabelMap{1, 5, {0, 1, 2, 9, 255}});
  const auto data = make_dataset({"folder", folder / "data.toml"}, "train");
  REQUIRE(data->size() == 1);
  CHECK(data->classes() == std::vector<std::string>{"leaf", "stem"});
  CHECK(data->palette()[1] == Color{200, 120, 0});
  CHECK(has(input_error([&] { data->load(0); }), "label 255 at (4, 0)"));
  write_png(folder / "both/one_gt.png", LabelMap{1, 5, {0, 1, 2, 9, 2}});
  CHECK(data->load(0).label.values == std::vector<std::uint8_t>{255, 0, 1, 255, 1});
  CHECK(has(input_error([&] {
              make_dataset({"folder", folder / "data.toml"}, "val");
            }),
            "no image"));
  CHECK(has(input_error([&] {
              make_dataset({"folder", folder / "data.toml"}, "dev");
            }),
            "it has train, val"));
  CHECK(has(input_error([&] {
              make_dataset({"folder", folder / "none.toml"}, "train");
            }),
            "none.toml"));
}

TEST_CASE("descriptions with mistakes") {
  const TemporaryFolder folder;
  const std::string split = "\n[train]\nimages = \"a\"\nlabels = \"b\"\n";
  CHECK(has(folder_error(folder, "classes = [\"a\"" + split), "line"));
  CHECK(has(folder_error(folder, "class = [\"a\"]" + split), "unknown key class"));
  CHECK(has(folder_error(folder, split), "wants classes"));
  CHECK(has(folder_error(folder, "classes = [1]" + split), "classes"));
  CHECK(has(folder_error(folder, "classes = []" + split), "classes"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]\npalette = [[1,2,3],[1,2,3]]" + split),
            "palette"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]\npalette = [[1,2,300]]" + split), "palette"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]\npalette = [[1,2]]" + split), "palette"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]\nignore_label = 256" + split), "ignore_label"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]\nreduce_zero_label = 1" + split), "reduce"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]\nimage_suffix = 3" + split), "image_suffix"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]\n[train]\nimages = \"a\""), "labels"));
  CHECK(
      has(folder_error(folder, "classes = [\"a\"]\n[train]\nimage = \"a\""), "unknown key image"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]"), "no split [train]"));
  CHECK(has(folder_error(folder, "classes = [\"a\"]" + split), "no such folder"));
  for (const char* bad : {"[=]", "[[*]]", "x = {,}", "a.=1", "[a.]"})  // the parser asserts on some
    CHECK(has(folder_error(folder, bad + split), "bad.toml: "));
  RandomStream random({5});
  for (int round = 0; round < 500; ++round) {
    std::string damaged = kDescription;
    for (std::uint64_t n = 1 + random.below(4); n > 0; --n)
      damaged[random.below(damaged.size())] = static_cast<char>(random.next());
    folder_error(folder, damaged);
  }
}
