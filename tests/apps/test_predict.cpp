// eval and predict, info and bench.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/inference/inference.h"
#include "data/datasets/scenes/scenes.h"
#include "data/images/image.h"
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
  // Standard output is a file here: the table stays in it, and /dev/stdout stays what it is.
  const bool link = fs::is_symlink("/dev/stdout");
  const auto both = segnext(folder,
                            "eval --weights w.safetensors --data folder --data-root data.toml "
                            "--size 64x32 --json /dev/stdout");
  CHECK(both.code == 0);
  CHECK(both.out.find("mIoU") < both.out.find("\"confusion\""));
  CHECK(both.out.find("\"confusion\"") != std::string::npos);
  CHECK(fs::is_symlink("/dev/stdout") == link);
  // So does it by whatever name.
  for (const char* name : {"/dev/fd/1", "stdout.txt"}) {
    CAPTURE(name);
    const auto again = segnext(folder, std::string("eval --weights w.safetensors --data folder "
                                                   "--data-root data.toml --size 64x32 --json ") +
                                           name);
    CHECK(again.code == 0);
    CHECK(again.out.find("mIoU") < again.out.find("\"confusion\""));
    CHECK(again.out.find("\"confusion\"") != std::string::npos);
  }
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

TEST_CASE("predict: images that cannot be read are named, the others are done") {
  const TemporaryFolder folder;
  make_weights(folder);
  fs::create_directories(folder / "in");
  for (const char* name : {"a", "b", "d", "e", "f"})
    write_png(folder / fmt::format("in/{}.png", name), little_image(33, 47, 1));
  spill(folder / "in/c.png", "no picture");
  spill(folder / "in/e.png", "no picture either");
  auto o = segnext(folder, "predict --weights w.safetensors in --output out");
  CHECK(o.code == 2);
  CHECK(lines_of(o.err) == 3);
  CHECK(o.err.find("segnext: in/c.png: ") == 0);
  CHECK(o.err.find("\nsegnext: in/e.png: ") != std::string::npos);
  CHECK(o.err.find("\nsegnext: 2 of 6 images") != std::string::npos);
  CHECK(o.out.find("4 images in out") != std::string::npos);
  CHECK(std::distance(fs::directory_iterator(folder / "out"), {}) == 4);
  // Once they are mended, only they are done.
  const auto before = fs::last_write_time(folder / "out/a.png");
  o = segnext(folder, "predict --weights w.safetensors in --output out");
  CHECK(o.code == 2);
  CHECK(o.err.find("--skip-existing") != std::string::npos);
  for (const char* name : {"c", "e"})
    write_png(folder / fmt::format("in/{}.png", name), little_image(33, 47, 1));
  o = segnext(folder, "predict --weights w.safetensors in --output out --skip-existing");
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(o.out.find("4 of 6 images have their results in out already") != std::string::npos);
  CHECK(std::distance(fs::directory_iterator(folder / "out"), {}) == 6);
  CHECK(fs::last_write_time(folder / "out/a.png") == before);
  CHECK(segnext(folder, "predict --weights w.safetensors in --output out --skip-existing").code ==
        0);
  CHECK(
      segnext(folder, "predict --weights w.safetensors in --output out --skip-existing --overwrite")
          .code == 2);
  // An image whose results are not all there is done again.
  fs::remove(folder / "in/e.png");
  spill(folder / "in/c.png", "no picture");
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

TEST_CASE("predict: folders with all beneath them; results that would be one file are refused") {
  const TemporaryFolder folder;
  make_weights(folder);
  const Image image = little_image(33, 47, 1);
  for (const char* name : {"in/a.png", "in/more/a.png", "in/more/deep/b.png"}) {
    fs::create_directories((folder.path / name).parent_path());
    write_png(folder / name, image);
  }
  spill(folder / "in/._a.jpg", "a companion");
  const std::string predict = "predict --weights w.safetensors ";
  auto o = segnext(folder, predict + "in --output out --index --colour");
  INFO(o.err);
  CHECK(o.code == 0);
  for (const char* name : {"a.png", "more/a.png", "more/deep/b.png"})
    for (const char* kind : {"index", "colour"})
      CHECK(read_image((folder.path / "out" / kind / name).string()).width == 47);
  // Results within the folder are no images the next time.
  CHECK(segnext(folder, predict + "in --output in/seen").code == 0);
  o = segnext(folder, predict + "in --output in/seen --skip-existing");
  CHECK(o.code == 0);
  CHECK(o.out.find("3 pictures in it lie in --output in/seen") != std::string::npos);
  CHECK(o.out.find("3 of 3 images") != std::string::npos);
  const auto refused = [&](const std::string& arguments, const std::string& part) {
    const auto r = segnext(folder, predict + arguments);
    CAPTURE(arguments);
    INFO(r.err);
    CHECK(r.code == 2);
    CHECK(lines_of(r.err) == 1);
    CHECK(r.err.find(part) != std::string::npos);
    CHECK_FALSE(fs::exists(folder / "no"));
  };
  refused("in in/a.png in/a.png --output no", "over the result of in/a.png");
  fs::create_directories(folder / "odd/a.png");
  write_png(folder / "odd/a.jpg.bmp.png", image);
  write_png(folder / "odd/a.png/c.png", image);
  fs::copy_file(folder / "in/a.png", folder / "odd/a.ppm");
  refused("odd --output no", "the folder of that of odd/a.png/c.png");
}

TEST_CASE("eval and predict: --max-pixels refuses by the header, or allows more") {
  const TemporaryFolder folder;
  make_weights(folder);
  const std::string eval =
      "eval --weights w.safetensors --data folder --data-root data.toml --max-pixels ";
  const std::string predict =
      "predict --weights w.safetensors images/val --output out --max-pixels ";
  for (const auto& command : {eval, predict}) {
    const auto o = segnext(folder, command + "1919");  // they have 48 x 40
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(o.err.find("0.png") != std::string::npos);
    CHECK(o.err.find("1919") != std::string::npos);
    CHECK(segnext(folder, command + "1920").code == 0);
    CHECK(segnext(folder, command + "0").code == 2);
  }
}

TEST_CASE("predict: memory that does not suffice names the image and what helps") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(
      with_memory_for("a.png", network_remedy({}), []() -> int { throw std::bad_alloc(); }),
      "a.png: out of memory; set --window 512x512: a sliding window needs a bounded amount",
      OutOfMemory);
  Protocol protocol = val_protocol({});
  CHECK(network_remedy(protocol).find("--val-window 512x512") != std::string::npos);
  protocol.window = {64, 32};
  CHECK(network_remedy(protocol).find("a smaller --val-window (it is 32x64)") != std::string::npos);
  CHECK_THROWS_AS(with_memory_for("a", "", []() -> int { fail("anything else"); }), Error);
#ifndef __SANITIZE_ADDRESS__  // which wants all addresses for itself
  make_weights(folder);
  write_png(folder / "large.png",
            Image{4000, 4000, std::vector<std::uint8_t>(4000 * 4000 * 3, 128)});
  write_png(folder / "little.png", little_image(33, 47, 1));
  // How much the program takes for itself depends on the libraries it was built with. The picture
  // and its copy as floats take 240 MB, the network 1.5 GB more.
  const std::string predict = "predict --weights w.safetensors --threads 1 --workers 1 ";
  int enough = 200000;
  while (enough < 9000000 && segnext(folder, predict + "little.png --output least --overwrite",
                                     fmt::format("ulimit -v {};", enough))
                                     .code != 0)
    enough += 100000;
  const auto o = segnext(folder, predict + "large.png little.png --output out",
                         fmt::format("ulimit -v {};", enough + 400000));
  INFO(o.err);
  CHECK(o.code == 1);
  CHECK(o.err.find("large.png: out of memory") != std::string::npos);
  CHECK(o.err.find("--window") != std::string::npos);
  CHECK(fs::exists(folder / "out/little.png"));
#endif
}

TEST_CASE("predict: images of a data set come with their truth") {
  const TemporaryFolder folder;
  make_weights(folder);
  const auto o = segnext(folder,
                         "predict --weights w.safetensors --data scenes --split test --count 2 "
                         "--output scenes --any-classes");
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
  CHECK(bench["peak_product_gflops"]["bf16"] == bench["peak_gflops"]);
  CHECK(o.out.find("of matrix products") == std::string::npos);
  const auto other = segnext(folder,
                             "bench --variant nano --decoder.kind ema --decoder.rank 4 --size 64 "
                             "--runs 1 --classes 3 --json b.json");
  REQUIRE(other.code == 0);
  CHECK(other.out.find("nano with decoder.kind = \"ema\"") != std::string::npos);
  CHECK(json::parse(slurp(folder / "b.json"))["arguments"]["model"].get<std::string>().find(
            "ema") != std::string::npos);
  const auto none = segnext(folder, "bench --variant nano --decoder.kind uper --decoder.stages 4");
  CHECK(none.code == 2);
  CHECK(none.err.find("uper's pyramid") != std::string::npos);
}

TEST_CASE("bench --protocol realtime: both sizes, both times, in order") {
  const TemporaryFolder folder;
  const auto run = segnext(
      folder, "bench --protocol realtime --variant nano --classes 3 --runs 2 --json r.json");
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(run.out.find("FPS") != std::string::npos);
  const json told = json::parse(slurp(folder / "r.json"));
  CHECK(told.at("warm_up") == 2);
  REQUIRE(told.at("sizes").size() == 2);
  for (const auto& size : told.at("sizes")) {
    CHECK(size.at("width").get<int>() == 2 * size.at("height").get<int>());
    for (const char* part : {"network", "whole"})
      CHECK(size.at(part).at("p99_seconds") >= size.at(part).at("median_seconds"));
    CHECK(size.at("whole").at("median_seconds") > size.at("network").at("median_seconds"));
  }
  CHECK(segnext(folder, "bench --protocol realtime --size 512").code == 2);
}
