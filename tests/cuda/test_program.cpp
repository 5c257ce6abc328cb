// segnext --device cuda, whole: train, resume, eval, predict, pretrain and bench, against the CPU.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;
using nlohmann::json;

namespace {

const std::string kLittle =
    "--data folder --data-root data.toml --variant nano --crop 32 --batch 2 --warmup 3 "
    "--pictures 2 --threads 1 --workers 1 ";

std::vector<double> losses_of(const std::string& path) {
  std::vector<double> losses;
  std::istringstream lines(slurp(path));
  for (std::string line; std::getline(lines, line);) {
    const json record = json::parse(line);
    if (record.contains("loss")) losses.push_back(record["loss"].get<double>());
  }
  return losses;
}

// Exit code 0, nothing on stderr; what it printed.
std::string succeeds(const TemporaryFolder& folder, const std::string& arguments) {
  CAPTURE(arguments);
  const Outcome o = segnext(folder, arguments);
  INFO(o.err);
  REQUIRE(o.code == 0);
  return o.out;
}

// Share of the pixels that two evaluations count differently.
double moved(const json& a, const json& b) {
  REQUIRE(a["confusion"].size() == b["confusion"].size());
  double different = 0, all = 0;
  for (std::size_t i = 0; i < a["confusion"].size(); ++i)
    for (std::size_t k = 0; k < a["confusion"][i].size(); ++k) {
      const double x = a["confusion"][i][k].get<double>(), y = b["confusion"][i][k].get<double>();
      different += std::abs(x - y);
      all += x;
    }
  return different / all;
}

}  // namespace

TEST_CASE("program: a run on the GPU learns what one on the CPU learns, and is scored by both") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string settings = kLittle + "--iterations 8 --clip-grad 5 --ema 0.5 ";
  succeeds(folder, "train --out cpu " + settings);
  const std::string out = succeeds(folder, "train --device cuda --out gpu " + settings);
  CHECK(out.find("8/8") != std::string::npos);
  const auto a = losses_of(folder / "cpu/log.jsonl"), b = losses_of(folder / "gpu/log.jsonl");
  REQUIRE(b.size() == 8);
  for (std::size_t i = 0; i < 8; ++i) CHECK(b[i] == doctest::Approx(a[i]).epsilon(2e-3));
  const std::string eval =
      "eval --weights gpu/last.safetensors --data folder --data-root data.toml ";
  succeeds(folder, eval + "--json cpu.json");
  const json on_cpu = json::parse(slurp(folder / "cpu.json"));
  for (const char* how : {"", "--precision tf32", "--precision bf16", "--flip --scales 0.75,1"}) {
    CAPTURE(how);
    succeeds(folder, eval + fmt::format("--device cuda --json gpu.json {}", how));
    const json on_gpu = json::parse(slurp(folder / "gpu.json"));
    if (std::string(how).empty()) CHECK(moved(on_cpu, on_gpu) < 0.002);
    CHECK(on_gpu["images"] == on_cpu["images"]);
  }
  // More pictures of one size than are computed before the forward pass is recorded.
  const std::string predict = "predict --weights gpu/last.safetensors images/train --index ";
  succeeds(folder, predict + "--output by_cpu");
  succeeds(folder, predict + "--output by_gpu --device cuda");
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "by_cpu")) {
    if (!entry.is_regular_file()) continue;
    ++files;
    CHECK(fs::exists(folder.path / "by_gpu" / fs::relative(entry.path(), folder.path / "by_cpu")));
  }
  CHECK(files == 3);
}

TEST_CASE("program: a run on the GPU that was stopped goes on to the same weights") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string settings = kLittle + "--device cuda --iterations 24 --checkpoint-every 3 ";
  succeeds(folder, "train --out calm " + settings);
  const Background run(folder, "train --out stopped " + settings);
  eventually([&] { return lines_of(slurp(folder / "stopped/log.jsonl")) >= 5; });
  run.send(SIGINT);
  run.wait();
  succeeds(folder, "train --resume stopped");
  CHECK(slurp(folder / "stopped/last.safetensors") == slurp(folder / "calm/last.safetensors"));
}

TEST_CASE("program: mixed precision, accumulated batches, recomputed activations, sgd") {
  const TemporaryFolder folder;
  make_little_data(folder);
  for (const char* how :
       {"--precision bf16", "--precision tf32", "--accumulate 2 --recompute",
        "--optimizer sgd --lr 0.01 --precision bf16", "--label-smoothing 0.1 --clip-grad 1"}) {
    CAPTURE(how);
    succeeds(folder, "train --out run --overwrite --device cuda --iterations 5 " + kLittle + how);
    for (const double loss : losses_of(folder / "run/log.jsonl")) CHECK(std::isfinite(loss));
  }
}

TEST_CASE("program: bench tells the GPU's figures, with and without recording") {
  const TemporaryFolder folder;
  const std::string out =
      succeeds(folder,
               "bench --device cuda --variant nano --size 64 --classes 5 --batch 2 --runs 2 "
               "--precision bf16 --json bench.json");
  CHECK(out.find("recorded") != std::string::npos);
  const json result = json::parse(slurp(folder / "bench.json"));
  for (const char* key : {"step", "step_recorded", "forward_one", "forward_one_recorded",
                          "forward_eval_recorded", "peak_bytes", "peak_gbytes"})
    CHECK(result[key].get<double>() > 0);
  CHECK(result["precision"] == "bf16");
  CHECK(out.find("of matrix products") != std::string::npos);
  for (const char* of : {"bf16", "f32"})
    CHECK(result["peak_product_gflops"][of].get<double>() > 0);
}

TEST_CASE("program: what does not go together is refused in one line") {
  const TemporaryFolder folder;
  make_little_data(folder);
  for (const char* wrong :
       {"--device cuda:77", "--device gpu", "--precision bf16", "--precision f16 --device cuda"}) {
    CAPTURE(wrong);
    const Outcome o = segnext(folder, "train --out run --iterations 1 " + kLittle + wrong);
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(lines_of(o.err) == 1);
    CHECK(!fs::exists(folder / "run"));
  }
}
