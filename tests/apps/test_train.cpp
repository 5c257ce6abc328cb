// Whole runs: killed and resumed, stopped, diverging, and what they leave behind.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "data/weights/train_state.h"
#include "data/weights/weights_file.h"
#include "tensor/backend.h"
#include "tensor/ops.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;
using nlohmann::json;

namespace {

const std::string kLittle =
    "--data folder --data-root data.toml --variant nano --crop 32 --batch 2 --warmup 3 "
    "--val-every 9 --pictures 2 --threads 1 ";

std::vector<json> read_log(const std::string& path) {
  std::vector<json> records;
  std::istringstream lines(slurp(path));
  for (std::string line; std::getline(lines, line);) records.push_back(json::parse(line));
  return records;
}

}  // namespace

TEST_CASE("train: a run leaves whole files, and its log and report tell it") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const auto o = segnext(folder, "train --out run --iterations 20 " + kLittle);
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(o.err.empty());
  CHECK(o.out.find("20/20") != std::string::npos);
  for (const char* part : {"loss", "lr", "images/s", "waiting", "memory", "left"})
    CHECK(o.out.find(part) != std::string::npos);
  const auto log = read_log(folder / "run/log.jsonl");
  CHECK(log.size() == 20 + 3);  // validations after 9, 18 and at the end
  CHECK(log[0]["iteration"] == 1);
  CHECK(log[9]["validation"]["mIoU"].is_number());
  const auto weights = read_safetensors(folder / "run/last.safetensors");
  CHECK(weights.metadata.at("variant") == "nano");
  CHECK(json::parse(weights.metadata.at("classes")) == json({"left", "right", "blob"}));
  CHECK(weights.find("backbone.block1.0.attn.spatial_gating_unit.conv0.weight") != nullptr);
  CHECK(fs::exists(folder / "run/best.safetensors"));
  const std::string html = slurp(folder / "run/report.html");
  CHECK(html.find("Confusion matrix") != std::string::npos);
  CHECK(html.find("http://") == std::string::npos);
  CHECK(html.find("https://") == std::string::npos);
  std::size_t pictures = 0;
  for (auto at = html.find("src=\""); at != std::string::npos; at = html.find("src=\"", at + 1)) {
    CHECK(html.compare(at + 5, 11, "data:image/") == 0);
    ++pictures;
  }
  CHECK(pictures == 6);
  // The written settings make the same run again.
  const auto again = segnext(folder, "train --config run/config.toml --out again");
  REQUIRE(again.code == 0);
  CHECK(slurp(folder / "again/last.safetensors") == slurp(folder / "run/last.safetensors"));
}

TEST_CASE("train: killed at any moment and resumed, it ends in the same bytes") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string settings = kLittle +
                               "--iterations 40 --checkpoint-every 4 --accumulate 2 --ema 0.9 "
                               "--clip-grad 1 --schedule cosine ";
  REQUIRE(segnext(folder, "train --out calm " + settings).code == 0);
  const Background first(folder, "train --out killed " + settings);
  // Random moments: the tests need not repeat them, whatever happens must be right.
  const auto when = static_cast<std::size_t>(getpid());
  std::string moments = fmt::format("{}", when % 17 + 1);
  eventually([&] { return lines_of(slurp(folder / "killed/log.jsonl")) >= when % 17 + 1; });
  first.send(SIGKILL);
  CHECK(first.wait() == 1000 + SIGKILL);
  const Background second(folder, "train --resume killed --workers 0");
  moments += fmt::format(" and {}", when % 13 + 20);
  eventually([&] { return lines_of(slurp(folder / "killed/log.jsonl")) >= when % 13 + 20; });
  second.send(SIGKILL);
  second.wait();
  INFO("killed after lines " << moments);
  const auto o = segnext(folder, "train --resume killed --workers 2");
  INFO(o.err);
  REQUIRE(o.code == 0);
  for (const char* file : {"last.safetensors", "best.safetensors"})
    CHECK(slurp(folder / (std::string("calm/") + file)) ==
          slurp(folder / (std::string("killed/") + file)));
  // The log has each iteration once, with the same losses.
  const auto calm = read_log(folder / "calm/log.jsonl"),
             killed = read_log(folder / "killed/log.jsonl");
  REQUIRE(calm.size() == killed.size());
  for (std::size_t i = 0; i < calm.size(); ++i) {
    CHECK(calm[i]["iteration"] == killed[i]["iteration"]);
    CHECK(calm[i].value("loss", 0.0) == killed[i].value("loss", 0.0));
  }
  for (const auto& entry : fs::directory_iterator(folder / "killed"))
    CHECK_FALSE(entry.path().string().ends_with(".tmp"));
  // A complete run has nothing left to do.
  const std::string before = slurp(folder / "killed/last.safetensors");
  CHECK(segnext(folder, "train --resume killed").code == 0);
  CHECK(slurp(folder / "killed/last.safetensors") == before);
}

TEST_CASE("train: SIGINT, SIGTERM and SIGUSR1 save, say how to go on, and have their codes") {
  const TemporaryFolder folder;
  make_little_data(folder);
  for (const auto& [signal, code] : {std::pair(SIGINT, 0), {SIGTERM, 75}, {SIGUSR1, 75}}) {
    const Background run(folder, signal == SIGINT ? "train --out run --iterations 100000 " + kLittle
                                                  : "train --resume run");
    const std::size_t lines = lines_of(slurp(folder / "run/log.jsonl")) + 5;
    REQUIRE(eventually([&] { return lines_of(slurp(folder / "run/log.jsonl")) >= lines; }));
    run.send(signal);
    CHECK(run.wait() == code);
    CHECK(slurp(folder / "background.txt").find("segnext train --resume 'run'") !=
          std::string::npos);
    const auto log = read_log(folder / "run/log.jsonl");
    const auto state = load_train_state(folder / "run/state.safetensors");
    CHECK(state.iteration == log.back()["iteration"].get<std::int64_t>());
  }
}

TEST_CASE("train: a loss that is not finite stops the run and keeps the last good weights") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const auto o = segnext(folder,
                         "train --out run --iterations 100 --lr 100 --weight-decay 10 "
                         "--checkpoint-every 1 " +
                             kLittle + "--warmup 0 --val-every 0");
  INFO(o.err);
  CHECK(o.code == 1);
  CHECK(lines_of(o.err) == 1);
  CHECK(o.err.find("at iteration") != std::string::npos);
  REQUIRE(fs::exists(folder / "run/state.safetensors"));
  for (const auto& [name, tensor] : load_train_state(folder / "run/state.safetensors").tensors)
    if (name.rfind("model.", 0) == 0 && tensor.dtype() == DType::f32) CHECK(all_finite(tensor));
}

TEST_CASE("train: pretrained weights say how many tensors matched, and wrong ones are refused") {
  const TemporaryFolder folder;
  make_little_data(folder);
  REQUIRE(segnext(folder, "train --out first --iterations 2 " + kLittle).code == 0);
  const auto o = segnext(
      folder, "train --out second --iterations 2 --pretrained first/last.safetensors " + kLittle);
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(o.out.find("tensors") != std::string::npos);
  const auto wrong =
      segnext(folder, "train --out third --iterations 2 --pretrained first/last.safetensors " +
                          kLittle + "--variant tiny");
  CHECK(wrong.code == 2);
  CHECK(lines_of(wrong.err) == 1);
  CHECK(wrong.err.find("tensors matched") != std::string::npos);
}
