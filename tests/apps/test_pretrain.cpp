// Whole pre-trainings on a little set of class folders, and what they are refused.
#include <doctest/doctest.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "data/weights/weights_file.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;
using nlohmann::json;

namespace {

const std::string kLittle =
    "--data-root pictures --size 32 --batch 4 --iterations 12 --val-every 2 --lr 1e-3 "
    "--pictures 4 --threads 1 --checkpoint-every 5 ";

// Three classes that a colour tells apart: 6 pictures each to train on, 2 to validate.
void make_pictures(const TemporaryFolder& folder) {
  std::uint32_t seed = 0;
  for (const auto& [split, count] : {std::pair("train", 6), std::pair("val", 2)})
    for (int c = 0; c < 3; ++c) {
      const std::string name = fmt::format("pictures/{}/{}", split, "abc"[c]);
      fs::create_directories(folder / name);
      for (int i = 0; i < count; ++i) {
        RandomStream random({++seed, 0, 0, 0});
        Image image{36, 44, {}};
        for (int p = 0; p < 36 * 44; ++p)
          for (int k = 0; k < 3; ++k)
            image.pixels.push_back(
                static_cast<std::uint8_t>((k == c ? 180 : 40) + random.below(60)));
        write_png(folder / fmt::format("{}/{}.png", name, i), image);
      }
    }
}

std::vector<json> read_log(const std::string& path) {
  std::vector<json> records;
  std::istringstream lines(slurp(path));
  for (std::string line; std::getline(lines, line);) records.push_back(json::parse(line));
  return records;
}

void refused(const TemporaryFolder& folder, const std::string& arguments, const std::string& part) {
  CAPTURE(arguments);
  const auto o = segnext(folder, arguments);
  INFO(o.err);
  CHECK(o.code == 2);
  CHECK(lines_of(o.err) == 1);
  CHECK(o.err.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("pretrain: a run leaves weights that are scored again, and start a segmentation") {
  const TemporaryFolder folder;
  make_pictures(folder);
  const auto o = segnext(folder, "pretrain --out run " + kLittle);
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(o.out.find("top-1") != std::string::npos);
  const auto log = read_log(folder / "run/log.jsonl");
  CHECK(log.size() == 12 + 2);  // two epochs are nine steps: validations after 9 and at the end
  const auto weights = read_safetensors(folder / "run/last.safetensors");
  CHECK(weights.metadata.at("variant") == "nano");
  CHECK(weights.metadata.at("size") == "32");
  CHECK(json::parse(weights.metadata.at("classes")) == json({"a", "b", "c"}));
  CHECK(weights.find("block1.0.attn.spatial_gating_unit.conv0.weight") != nullptr);
  REQUIRE(weights.find("head.weight") != nullptr);
  CHECK(weights.find("head.weight")->shape() == Shape{3, 128});
  const std::string html = slurp(folder / "run/report.html");
  for (const char* part : {"Validation top-1", "Validation top-5", "right and wrong", " images)"})
    CHECK(html.find(part) != std::string::npos);
  CHECK(html.find("http") == std::string::npos);

  // The figures of the last validation, of whatever batch.
  const auto eval = segnext(folder,
                            "pretrain --eval-only --weights run/last.safetensors --data-root "
                            "pictures --batch 5 --json scores.json");
  INFO(eval.err);
  REQUIRE(eval.code == 0);
  const auto scores = json::parse(slurp(folder / "scores.json"));
  CHECK(scores["top1"] == log.back()["validation"]["top1"]);
  CHECK(scores["confusion"] == log.back()["validation"]["confusion"]);
  CHECK(scores["images"] == 6);

  make_little_data(folder);
  const auto segmentation =
      segnext(folder,
              "train --data folder --data-root data.toml --variant nano --crop 32 --batch 2 "
              "--iterations 1 --pretrained run/best.safetensors --out segmentation");
  INFO(segmentation.err);
  CHECK(segmentation.code == 0);
  int found = 0, wanted = -1;
  const auto at = segmentation.out.find("encoder: ");
  REQUIRE(at != std::string::npos);
  CHECK(std::sscanf(segmentation.out.c_str() + at, "encoder: %d of %d", &found, &wanted) == 2);
  CHECK(found > 100);
  CHECK(found == wanted);

  // Case makes no other class of one, as for segmentation; another name does.
  const auto rename_all = [&](const std::string& from, const std::string& to) {
    for (const char* split : {"train/", "val/"})
      for (std::size_t c = 0; c < 3; ++c)
        fs::rename(folder / (std::string("pictures/") + split + from[c]),
                   folder / (std::string("pictures/") + split + to[c]));
  };
  rename_all("abc", "ABC");
  CHECK(segnext(folder, "pretrain --eval-only --weights run/best.safetensors --data-root pictures")
            .code == 0);
  rename_all("ABC", "abc");

  // Another set of classes, from these weights.
  const std::string next = "pretrain --pretrained run/best.safetensors --out next " + kLittle;
  fs::rename(folder / "pictures/train/c", folder / "pictures/train/d");
  fs::rename(folder / "pictures/val/c", folder / "pictures/val/d");
  refused(folder, "pretrain --eval-only --weights run/best.safetensors --data-root pictures",
          "class 2 is c");
  CHECK(segnext(folder,
                "pretrain --eval-only --weights run/best.safetensors --data-root pictures "
                "--any-classes")
            .code == 0);
  fs::remove_all(folder / "pictures/train/d");
  fs::remove_all(folder / "pictures/val/d");
  refused(folder, next, "--reset-classifier");
  refused(folder, "pretrain --eval-only --weights run/best.safetensors --data-root pictures",
          "3 classes");
  const auto reset = segnext(folder, next + "--reset-classifier --iterations 1");
  INFO(reset.err);
  CHECK(reset.code == 0);
}

TEST_CASE("pretrain: killed and resumed with other workers, it ends in the same bytes") {
  const TemporaryFolder folder;
  make_pictures(folder);
  const std::string settings = kLittle + "--accumulate 2 --ema 0.9 --clip-grad 1 --jitter 0.2 ";
  REQUIRE(segnext(folder, "pretrain --out calm --workers 0 " + settings).code == 0);
  const Background first(folder, "pretrain --out killed " + settings);
  CHECK(eventually([&] { return lines_of(slurp(folder / "killed/log.jsonl")) >= 6; }));
  first.send(SIGKILL);
  CHECK(first.wait() == 1000 + SIGKILL);
  const auto o = segnext(folder, "pretrain --resume killed --workers 3");
  INFO(o.err);
  REQUIRE(o.code == 0);
  for (const char* file : {"last.safetensors", "best.safetensors"})
    CHECK(slurp(folder / (std::string("calm/") + file)) ==
          slurp(folder / (std::string("killed/") + file)));
  const auto calm = read_log(folder / "calm/log.jsonl"),
             killed = read_log(folder / "killed/log.jsonl");
  REQUIRE(calm.size() == killed.size());
  for (std::size_t i = 0; i < calm.size(); ++i)
    CHECK(calm[i].value("loss", 0.0) == killed[i].value("loss", 0.0));
}

TEST_CASE("pretrain: Ctrl-C saves and says how to go on") {
  const TemporaryFolder folder;
  make_pictures(folder);
  const Background run(folder, "pretrain --out run " + kLittle + "--iterations 100000");
  CHECK(eventually([&] { return lines_of(slurp(folder / "run/log.jsonl")) >= 3; }));
  run.send(SIGINT);
  CHECK(run.wait() == 0);
  CHECK(slurp(folder / "background.txt").find("segnext pretrain --resume 'run'") !=
        std::string::npos);
  CHECK(fs::exists(folder / "run/state.safetensors"));
}

TEST_CASE("pretrain: bad input is one line that names it") {
  const TemporaryFolder folder;
  make_pictures(folder);
  const std::string run = "pretrain --out run " + kLittle;
  refused(folder, "pretrain", "--data-root");
  refused(folder, "pretrain --data-root nowhere", "nowhere");
  refused(folder, run + "--scale-min 0.9 --scale-max 0.5", "--scale-max");
  refused(folder, run + "--size 16", "--size: 16 is out of range");
  refused(folder, run + "--data idx", "train-images-idx3-ubyte");
  refused(folder, run + "--pretrained pictures/train/a/0.png", "0.png");
  refused(folder, run + "--weights a.safetensors", "--eval-only");
  refused(folder, "pretrain --eval-only --data-root pictures", "--weights");
  refused(folder, "pretrain --eval-only --weights none.safetensors --data-root pictures",
          "none.safetensors");
  spill(folder / "pictures/train/b/3.png", "no picture");
  refused(folder, run, "pictures/train/b/3.png");
  CHECK(fs::exists(folder / "run/state.safetensors"));  // of the iterations before it was met
  fs::create_directories(folder / "pictures/val/x");
  refused(folder, "pretrain --out other " + kLittle, "val/x");
  CHECK_FALSE(fs::exists(folder / "other"));
}
