// segnext data inspect and segnext prepare isaid, as a user runs them.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "data/datasets/layouts/layout.h"
#include "data/images/image.h"
#include "tests/apps/program.h"
#include "tests/data/miniatures.h"

using namespace nextgrad;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Large pictures as iSAID's archives unpack: the label is painted in stripes of its classes.
void make_isaid(const fs::path& root, const std::string& name, std::int64_t height,
                std::int64_t width) {
  Image image{height, width, {}}, label{height, width, {}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const Color color = layouts::isaid_palette()[static_cast<std::size_t>(x / 7 % 16)];
      label.pixels.insert(label.pixels.end(), color.begin(), color.end());
      for (int c = 0; c < 3; ++c)
        image.pixels.push_back(static_cast<std::uint8_t>(x * 3 + y * 5 + c * 50));
    }
  fs::create_directories(root / "train/images");
  fs::create_directories(root / "train/Semantic_masks");
  write_png((root / "train/images" / (name + ".png")).string(), image);
  write_png((root / "train/Semantic_masks" / (name + "_instance_color_RGB.png")).string(), label);
}

}  // namespace

TEST_CASE(
    "inspect: what is ignored is told; hostile names are escaped, JSON is written whatever they "
    "are") {
  const TemporaryFolder folder;
  const std::string name = "x\xff\x1b[31m";
  write_png((folder.path / name).string() + ".png", Image{2, 2, std::vector<std::uint8_t>(12, 9)});
  write_png((folder.path / name).string() + "_gt.png", LabelMap{2, 2, {0, 255, 128, 0}});
  write_png((folder.path / "y\n.png").string(), Image{1, 1, {1, 2, 3}});
  write_png((folder.path / "y\n_gt.png").string(), LabelMap{1, 1, {7}});
  std::ofstream(folder.path / "own.toml")
      << "classes = [\"b\\u001bg\", \"leaf\", \"none\"]\nlabel_suffix = \"_gt.png\"\n"
         "[train]\nimages = \".\"\nlabels = \".\"\n"
         "[values]\n0 = \"b\\u001bg\"\n128 = \"ignore\"\n255 = \"leaf\"\n";
  const auto o = segnext(folder, "data inspect --data folder --data-root own.toml --json all.json");
  INFO(o.out << o.err);
  CHECK(o.code == 2);
  CHECK(has(o.out, "25.00 % of their pixels are ignored (label value 128)"));
  CHECK(has(o.out, "1 class of 3 never occur"));
  CHECK(has(o.err, "label 7 at (0, 0)"));
  CHECK((o.out + o.err).find('\x1b') == std::string::npos);
  const auto json = nlohmann::json::parse(slurp(folder / "all.json"));
  CHECK(json["read"] == 1);
  REQUIRE(json["problems"].size() == 1);
}

TEST_CASE("inspect: counts, table, JSON and contact sheet of a sound data set") {
  const TemporaryFolder folder;
  testing::make_miniature("voc", folder / "data");
  const auto o = segnext(folder,
                         "data inspect --data voc --data-root data --out sheet.png --json all.json "
                         "--crop 64 --pictures 3");
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(has(o.out, "train           4 images\n"));
  CHECK(has(o.out, "test            1 images, no labels"));
  CHECK(has(o.out, "median 72x50"));
  CHECK(has(o.out, "% of their pixels are ignored"));
  CHECK(has(o.out, "tvmonitor"));
  CHECK(has(o.out, "17 classes of 21 never occur in these 4 images: bicycle"));
  CHECK(has(o.out, "Contact sheet: sheet.png"));
  CHECK(read_image(folder / "sheet.png").width > 128);
  const auto json = nlohmann::json::parse(slurp(folder / "all.json"));
  CHECK(json["splits"]["val"] == 2);
  CHECK(json["problems"].empty());
  CHECK(json["read"] == 4);
  CHECK(json["classes"].size() == 21);
  const auto few = segnext(folder, "data inspect --data voc --data-root data --count 2 --json -");
  CHECK(few.code == 0);
  CHECK(nlohmann::json::parse(few.out)["read"] == 2);
  const auto test = segnext(folder, "data inspect --data voc --data-root data --split test");
  CHECK(test.code == 0);
  CHECK(has(test.out, "1 images read"));
  const auto scenes = segnext(folder, "data inspect --count 3 --out scenes.png");
  CHECK(scenes.code == 0);
  CHECK(fs::exists(folder / "scenes.png"));
}

TEST_CASE("inspect: every problem with its file, exit code 2") {
  const TemporaryFolder folder;
  testing::make_miniature("camvid", folder / "data");
  spill(folder / "data/labels/train/0001TP_000001.png", "damaged");
  fs::remove(folder / "data/labels/train/0001TP_000002.png");
  fs::remove(folder / "data/labels/train/0001TP_000003.png");
  const auto o = segnext(folder, "data inspect --data camvid --data-root data --json all.json");
  CHECK(o.code == 2);
  CHECK(has(o.err, "problem: data/images/train/0001TP_000002.jpg: has no label"));
  CHECK(has(o.err, "problem: data/images/train/0001TP_000003.jpg: has no label"));
  CHECK(has(o.err, "problem: data/labels/train/0001TP_000001.png: is no PNG"));
  CHECK(has(o.err, "segnext: camvid train: 3 problems found, listed above"));
  CHECK(has(o.out, "1 images read"));
  CHECK(nlohmann::json::parse(slurp(folder / "all.json"))["problems"].size() == 3);
  for (const auto& [arguments, part] : std::vector<std::pair<std::string, std::string>>{
           {"data inspect --data camvi --data-root data", "did you mean camvid?"},
           {"data inspect --data camvid --data-root nowhere", "nowhere: no such folder"},
           {"data inspect --data camvid --data-root data --split dev", "dev"},
           {"data inspect --data voc --data-root data", "is not Pascal VOC 2012"},
           {"data inspect --out no/such/sheet.png", "no/such/sheet.png"},
           {"data inspect --crop 1", "--crop"},
           {"data", "subcommand"},
           {"prepare", "subcommand"}}) {
    CAPTURE(arguments);
    const auto bad = segnext(folder, arguments);
    CHECK(bad.code == 2);
    CHECK(lines_of(bad.err) == 1);
    CHECK(has(bad.err, part));
  }
  CHECK(has(segnext(folder, "data inspect --help").out, "Example"));
  CHECK(has(segnext(folder, "prepare isaid --help").out, "Example"));
}

TEST_CASE("prepare isaid: patches that train, nothing twice, mistakes told") {
  const TemporaryFolder folder;
  make_isaid(folder / "in", "P0001", 150, 260);
  make_isaid(folder / "in", "P0002", 60, 300);
  const std::string command = "prepare isaid --in in --out out --patch 96 --overlap 32";
  const auto o = segnext(folder, command);
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(has(o.out, "26 patches written, 0 were there"));  // 2x4 and 1x5, twice
  CHECK(fs::exists(folder / "out/img_dir/train/P0001_54_150_164_260.png"));
  CHECK(fs::exists(folder / "out/ann_dir/train/P0002_0_96_204_300_instance_color_RGB.png"));
  CHECK(has(segnext(folder, command).out, "0 patches written, 26 were there"));
  CHECK(segnext(folder, "data inspect --data isaid --data-root out").code == 0);
  const auto other = segnext(folder, "prepare isaid --in in --out out --patch 64 --overlap 32");
  CHECK(other.code == 2);
  CHECK(has(other.err, "was cut with patch 96 overlap 32"));
  CHECK(segnext(folder, "prepare isaid --in no --out out").code == 2);
  CHECK(has(segnext(folder, "prepare isaid --in out --out x").err, "neither train nor val"));
  CHECK(segnext(folder, "prepare isaid --in in --out x --patch 32 --overlap 32").code == 2);
  // A bad picture is left out, named, and the exit code says so; the others are cut.
  spill(folder / "in/train/images/P0003.png", "damaged");
  make_isaid(folder / "in", "P0004", 100, 100);
  spill(folder / "in/train/images/P0004.png",
        slurp(folder / "in/train/images/P0004.png").substr(0, 200));
  const auto bad = segnext(folder, command);
  CHECK(bad.code == 2);
  CHECK(has(bad.err, "P0003.png: has no label"));
  CHECK(has(bad.err, "P0004.png: damaged or truncated"));
  CHECK(has(bad.err, "segnext: in: 2 files were left out"));
}

TEST_CASE("prepare isaid: a signal stops it, and the same command continues") {
  const TemporaryFolder folder;
  for (int i = 0; i < 8; ++i) make_isaid(folder / "in", fmt::format("P{:04}", i), 500, 700);
  const std::string command = "prepare isaid --in in --out out --patch 96 --overlap 90";
  const Background run(folder, command);
  CHECK(eventually([&] {
    std::error_code none;
    return fs::exists(folder / "out/ann_dir/train/P0000_0_96_0_96_instance_color_RGB.png", none);
  }));
  run.send(SIGINT);
  CHECK(run.wait() == 0);
  CHECK(has(slurp(folder / "background.txt"), "the same command continues"));
  for (const auto& entry : fs::recursive_directory_iterator(folder / "out")) {
    const std::string path = entry.path().string();
    CHECK_FALSE(has(path, ".tmp"));
  }
}
