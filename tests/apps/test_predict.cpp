// eval and predict, info and bench.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "data/image.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;
using nlohmann::json;

namespace {

// Weights of a few iterations in `folder`, as w.safetensors.
void make_weights(const TemporaryFolder& folder) {
  make_little_data(folder);
  const auto o = segnext(folder,
                         "train --data folder --data-root data.toml --variant nano --crop 32 "
                         "--batch 2 --iterations 3 --out run");
  INFO(o.err);
  REQUIRE(o.code == 0);
  fs::copy_file(folder / "run/last.safetensors", folder / "w.safetensors");
}

}  // namespace

TEST_CASE("eval: table and JSON of exact counts") {
  const TemporaryFolder folder;
  make_weights(folder);
  const auto o = segnext(folder,
                         "eval --weights w.safetensors --data folder --data-root data.toml "
                         "--split val --json scores.json");
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(o.out.find("mIoU") != std::string::npos);
  CHECK(o.out.find("blob") != std::string::npos);
  const json scores = json::parse(slurp(folder / "scores.json"));
  CHECK(scores["images"] == 2);
  std::int64_t pixels = 0;
  for (const auto& row : scores["confusion"])
    for (const auto& count : row) pixels += count.get<std::int64_t>();
  CHECK(pixels == 2 * 39 * 48);  // the first row of each label is ignored
  // The validation at the end of the run counted the same.
  std::istringstream lines(slurp(folder / "run/log.jsonl"));
  json last;
  for (std::string line; std::getline(lines, line);) last = json::parse(line);
  CHECK(last["validation"]["confusion"] == scores["confusion"]);
  CHECK(segnext(folder,
                "eval --weights w.safetensors --data folder --data-root data.toml "
                "--size 64x32 --json /dev/stdout")
            .code == 0);
}

TEST_CASE("predict: files, folders and globs keep names and sizes") {
  const TemporaryFolder folder;
  make_weights(folder);
  fs::create_directories(folder / "in");
  write_png(folder / "in/a.png", little_image(33, 47, 1));
  const auto jpeg = encode_jpeg(little_image(64, 35, 2));
  spill(folder / "in/b.jpg", std::string(jpeg.begin(), jpeg.end()));
  spill(folder / "in/notes.txt", "not an image");
  auto o =
      segnext(folder, "predict --weights w.safetensors in --output out --colour --index --overlay");
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(o.out.find("2 of 2") != std::string::npos);
  CHECK(o.out.find("images/s") != std::string::npos);
  for (const char* kind : {"overlay", "colour", "index"}) {
    const Image a = read_image(folder / fmt::format("out/{}/a.png", kind));
    const Image b = read_image(folder / fmt::format("out/{}/b.png", kind));
    CHECK((a.height == 33 && a.width == 47));
    CHECK((b.height == 64 && b.width == 35));
  }
  for (const auto v : read_label(folder / "out/index/a.png").values) CHECK(v < 3);
  o = segnext(folder, "predict --weights w.safetensors 'in/?.jpg' in/a.png --output one --index");
  CHECK(o.code == 0);
  CHECK(slurp(folder / "one/a.png") == slurp(folder / "out/index/a.png"));
  CHECK(fs::exists(folder / "one/b.png"));
  // One name twice: both are kept.
  fs::copy_file(folder / "in/b.jpg", folder / "in/a.jpg");
  o = segnext(folder, "predict --weights w.safetensors in/a.png in/a.jpg --output two");
  CHECK(o.code == 0);
  CHECK(fs::exists(folder / "two/a.png.png"));
  CHECK(fs::exists(folder / "two/a.jpg.png"));
  // Results are not overwritten unasked, inputs never.
  CHECK(segnext(folder, "predict --weights w.safetensors in/a.png --output one").code == 2);
  CHECK(segnext(folder, "predict --weights w.safetensors in/a.png --output one --overwrite").code ==
        0);
  const std::string input = slurp(folder / "in/a.png");
  CHECK(segnext(folder, "predict --weights w.safetensors in/a.png --output in --overwrite").code ==
        2);
  CHECK(slurp(folder / "in/a.png") == input);
}

TEST_CASE("predict: stops at the first image it cannot read, keeps what came before") {
  const TemporaryFolder folder;
  make_weights(folder);
  fs::create_directories(folder / "in");
  for (const char* name : {"a", "b", "d", "e", "f"})
    write_png(folder / fmt::format("in/{}.png", name), little_image(33, 47, 1));
  spill(folder / "in/c.png", "no picture");
  spill(folder / "in/e.png", "no picture either");
  auto o = segnext(folder, "predict --weights w.safetensors in --output out");
  CHECK(o.code == 2);
  CHECK(o.err.find("c.png") != std::string::npos);
  CHECK(fs::exists(folder / "out/a.png"));
  CHECK(fs::exists(folder / "out/b.png"));
  CHECK(std::distance(fs::directory_iterator(folder / "out"), {}) == 2);
  // Nothing is left where nothing was made, but what was there stays.
  o = segnext(folder,
              "predict --weights w.safetensors in/c.png --output new/deep --index --colour");
  CHECK(o.code == 2);
  CHECK(!fs::exists(folder / "new"));
  fs::create_directories(folder / "old");
  o = segnext(folder, "predict --weights w.safetensors in/c.png --output old --index --colour");
  CHECK(o.code == 2);
  CHECK(fs::is_empty(folder / "old"));
}

TEST_CASE("predict: images of a data set come with their truth") {
  const TemporaryFolder folder;
  make_weights(folder);
  const auto o = segnext(folder,
                         "predict --weights w.safetensors --data scenes --split test --count 2 "
                         "--output scenes");
  INFO(o.err);
  REQUIRE(o.code == 0);
  for (const char* kind : {"overlay", "image", "truth"}) {
    std::size_t files = 0;
    for (const auto& entry : fs::directory_iterator(folder / (std::string("scenes/") + kind))) {
      CHECK(read_image(entry.path().string()).width == 128);
      ++files;
    }
    CHECK(files == 2);
  }
}

TEST_CASE("info and bench") {
  const TemporaryFolder folder;
  const auto info = segnext(folder, "info --variant tiny --classes 150");
  CHECK(info.code == 0);
  CHECK(info.out.find("4.263") != std::string::npos);
  const auto o = segnext(
      folder, "bench --variant nano --size 33x47 --batch 1 --runs 1 --classes 3 --json b.json");
  INFO(o.err);
  REQUIRE(o.code == 0);
  const json bench = json::parse(slurp(folder / "b.json"));
  CHECK(bench["step"].get<double>() > 0);
  CHECK(bench["peak_bytes"].get<double>() > 1e5);
  CHECK(bench["ops"].size() > 5);
}
