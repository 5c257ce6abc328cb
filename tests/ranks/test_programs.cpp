// segnext started by mpirun: what it prints, writes and ends with, also when a rank dies.
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/weights/train_state.h"
#include "tests/apps/little_data.h"

using namespace nextgrad;
using nlohmann::json;

namespace {

std::string mpirun(int ranks) {
  return fmt::format("mpirun --oversubscribe --bind-to none -n {}", ranks);
}

// By so many ranks, or without mpirun.
Outcome run(const TemporaryFolder& folder, int ranks, const std::string& arguments) {
  return segnext(folder, arguments, ranks == 1 ? "" : mpirun(ranks));
}

struct Log {
  std::vector<double> losses;  // by iteration
  std::vector<json> validations;
};
Log log_of(const std::string& run) {
  Log log;
  std::istringstream lines(slurp(run + "/log.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json record = json::parse(line);
    if (record.contains("loss")) log.losses.push_back(record.at("loss"));
    if (record.contains("validation")) log.validations.push_back(record.at("validation"));
  }
  return log;
}

void require_same_losses(const Log& a, const Log& b, double tolerance) {
  REQUIRE(a.losses.size() == b.losses.size());
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(a.losses[i] - b.losses[i]) < tolerance * std::abs(b.losses[i]));
  }
}

// The process of a rank among the children of mpirun.
pid_t process_of(pid_t launcher, int rank) {
  const std::string wanted = fmt::format("OMPI_COMM_WORLD_RANK={}", rank);
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string id = entry.path().filename().string();
    if (id.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string status = slurp("/proc/" + id + "/status");
    if (status.find(fmt::format("PPid:\t{}\n", launcher)) == std::string::npos) continue;
    std::istringstream environment(slurp("/proc/" + id + "/environ"));
    for (std::string entry; std::getline(environment, entry, '\0');)
      if (entry == wanted) return std::stoi(id);
  }
  return 0;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A training in the background that has done some iterations more than the run had.
Background begin(const TemporaryFolder& folder, int ranks, const std::string& arguments) {
  const std::size_t before = lines_of(slurp(folder / "run/log.jsonl"));
  Background training(folder, arguments, mpirun(ranks));
  REQUIRE(eventually([&] { return lines_of(slurp(folder / "run/log.jsonl")) >= before + 6; }));
  for (int rank = 0; rank < ranks; ++rank) REQUIRE(process_of(training.id(), rank) > 0);
  return training;
}

constexpr const char* kShort =
    "train --data folder --data-root data.toml --iterations 8 --batch 5 --accumulate 2 --crop 64 "
    "--val-every 4 --val-size 64 --threads 1 --ema 0.9 --clip-grad 1 --checkpoint-every 2 --out ";
constexpr const char* kLong =
    "train --iterations 5000 --batch 4 --crop 64 --val-every 0 --threads 1 --checkpoint-every 5 "
    "--out run";

}  // namespace

TEST_CASE("ranks: training, its validations and files are those of one process") {
  const TemporaryFolder folder;
  make_little_data(folder);
  for (const int ranks : {1, 2, 3}) {
    const Outcome o = run(folder, ranks, kShort + fmt::format("run{}", ranks));
    CAPTURE(o.err);
    REQUIRE(o.code == 0);
    CHECK(o.err.empty());
    for (const char* file : {"config.toml", "state.safetensors", "last.safetensors", "report.html"})
      CHECK(fs::exists(folder / fmt::format("run{}/{}", ranks, file)));
    CHECK(lines_of(o.out.substr(o.out.find("done:"))) == 1);
    if (ranks > 1) CHECK(o.out.find("slowest of") != std::string::npos);
  }
  const Log one = log_of(folder / "run1");
  CHECK(one.losses.size() == 8);
  CHECK(one.validations.size() == 2);
  for (const int ranks : {2, 3}) {
    const Log many = log_of(folder / fmt::format("run{}", ranks));
    require_same_losses(many, one, 1e-4);
    CHECK(many.validations.size() == 2);
    CHECK(many.validations[0].at("pixels") == one.validations[0].at("pixels"));
  }
  const std::string report = slurp(folder / "run2/report.html");
  CHECK(report.find("rank 1") != std::string::npos);
}

TEST_CASE("ranks: killed, and resumed by another number of ranks, the losses are the same") {
  const TemporaryFolder folder;
  make_little_data(folder);
  REQUIRE(run(folder, 1, kShort + std::string("whole --iterations 24")).code == 0);
  {
    const Background training = begin(folder, 2, kShort + std::string("run --iterations 24"));
    kill(process_of(training.id(), 1), SIGKILL);
    CHECK(training.wait() != 0);
  }
  REQUIRE(fs::exists(folder / "run/state.safetensors"));
  const Outcome o = run(folder, 3, "train --resume run");
  CAPTURE(o.err);
  REQUIRE(o.code == 0);
  require_same_losses(log_of(folder / "run"), log_of(folder / "whole"), 1e-4);
}

TEST_CASE("ranks: eval has the very counts of one process, predict its very files") {
  const TemporaryFolder folder;
  make_little_data(folder);
  REQUIRE(run(folder, 1, kShort + std::string("run")).code == 0);
  const std::string data = " --data folder --data-root data.toml --threads 1 ";
  for (const char* how :
       {"--size 64", "--window 48 --stride 32", "--size 64 --scales 0.75,1 --flip"}) {
    std::optional<json> one;
    for (const int ranks : {1, 2, 3}) {
      const Outcome o =
          run(folder, ranks,
              fmt::format("eval --weights run{} {} --split train --json e.json", data, how));
      CAPTURE(o.err);
      REQUIRE(o.code == 0);
      const json scores = json::parse(slurp(folder / "e.json"));
      if (!one) one = scores;
      CHECK(scores.at("confusion") == one->at("confusion"));
      CHECK(scores.at("mIoU") == one->at("mIoU"));
    }
  }
  for (const int ranks : {1, 2}) {
    const Outcome o = run(folder, ranks,
                          fmt::format("predict images/train images/val/0.png --index --weights run "
                                      "--threads 1 --output p{}",
                                      ranks));
    CAPTURE(o.err);
    // Two pictures of one name would be one file.
    CHECK(o.code == 2);
    const Outcome two = run(folder, ranks,
                            fmt::format("predict images/train --index --weights run --threads 1 "
                                        "--output p{}",
                                        ranks));
    CHECK(two.code == 0);
    CHECK(two.out.find("3 images in p") != std::string::npos);
  }
  for (int i = 0; i < 3; ++i)
    CHECK(slurp(folder / fmt::format("p1/{}.png", i)) ==
          slurp(folder / fmt::format("p2/{}.png", i)));
}

TEST_CASE("ranks: signals save at one iteration and end with 75; the run goes on") {
  const TemporaryFolder folder;
  for (const int signal : {SIGUSR1, SIGTERM}) {
    CAPTURE(signal);
    const std::string how = signal == SIGUSR1 ? kLong : "train --resume run";
    const Background training = begin(folder, 2, how);
    // One rank alone hears of it.
    kill(process_of(training.id(), 1), signal);
    CHECK(training.wait() == 75);
    CHECK(slurp(folder / "background.txt").find("stopped and saved; go on with") !=
          std::string::npos);
  }
}

TEST_CASE("ranks: whichever rank is killed, the others end in seconds and the state is whole") {
  const TemporaryFolder folder;
  for (const int rank : {0, 1}) {
    CAPTURE(rank);
    const Background training = begin(folder, 2, rank == 0 ? kLong : "train --resume run");
    const auto since = std::chrono::steady_clock::now();
    kill(process_of(training.id(), rank), SIGKILL);
    CHECK(training.wait() != 0);
    CHECK(seconds_since(since) < 10);
    const std::string said = slurp(folder / "background.txt");
    CHECK(said.find(fmt::format("rank {}", rank)) != std::string::npos);
  }
  const Background training = begin(folder, 3, "train --resume run");
  kill(process_of(training.id(), 2), SIGTERM);
  CHECK(training.wait() == 75);
}

TEST_CASE("ranks: one that stands still, or lives but does not come, is missed and named") {
  const TemporaryFolder folder;
  SUBCASE("no sign of life: what was trained is saved") {
    const Background training = begin(folder, 3, kLong);
    const auto since = std::chrono::steady_clock::now();
    kill(process_of(training.id(), 1), SIGSTOP);
    CHECK(training.wait() == 1);
    CHECK(seconds_since(since) < 12);
    const std::string said = slurp(folder / "background.txt");
    CHECK(said.find("rank 1 of 3") != std::string::npos);
    CHECK(said.find("no sign of life") != std::string::npos);
    const auto state = load_train_state(folder / "run/state.safetensors");
    CHECK(state.iteration == std::ssize(log_of(folder / "run").losses));
    CHECK(said.find(fmt::format("iteration {} is saved, go on from it with", state.iteration)) !=
          std::string::npos);
  }
  SUBCASE("the time limit") {
    make_little_data(folder);
    // Rank 0 waits for rank 1, which has the larger of two pictures.
    LabelMap label;
    write_png(folder / "images/val/1.png", little_image(3000, 3000, 1, &label));
    write_png(folder / "labels/val/1.png", label);
    REQUIRE(run(folder, 1, kShort + std::string("run --iterations 1 --val-every 0")).code == 0);
    const Outcome o = run(folder, 2,
                          "eval --weights run --data folder --data-root data.toml --threads 1 "
                          "--wait-limit 1");
    CAPTURE(o.err);
    CHECK(o.code == 1);
    CHECK(o.err.find("rank 1 of 2") != std::string::npos);
    CHECK(o.err.find("did not come to a sum for 1 s (--wait-limit)") != std::string::npos);
  }
}

TEST_CASE("ranks: what fails on one ends all, in one line that names it") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string train =
      "train --data folder --data-root data.toml --iterations 60 --batch 3 --crop 64 --val-every 0 "
      "--threads 1 --checkpoint-every 1000 --out ";
  SUBCASE("a damaged picture") {
    spill(folder / "images/train/1.png", slurp(folder / "images/train/1.png").substr(0, 300));
    const Outcome o = run(folder, 3, train + "run");
    CAPTURE(o.err);
    CHECK(o.code == 2);
    CHECK(o.err.find("rank ") != std::string::npos);
    CHECK(o.err.find("images/train/1.png") != std::string::npos);
    CHECK(o.err.find("images/train/1.png") == o.err.rfind("images/train/1.png"));
  }
  SUBCASE("one that may be left out") {
    spill(folder / "images/train/1.png", slurp(folder / "images/train/1.png").substr(0, 300));
    const Outcome one = run(folder, 1, train + "one --skip-damaged 1 --iterations 6");
    const Outcome o = run(folder, 3, train + "run --skip-damaged 1 --iterations 6");
    CAPTURE(o.err);
    CHECK(one.code == 0);
    CHECK(o.code == 0);
    CHECK(slurp(folder / "run/log.jsonl").find("\"skipped\"") != std::string::npos);
    require_same_losses(log_of(folder / "run"), log_of(folder / "one"), 1e-4);
  }
  SUBCASE("other settings") {
    const Outcome o = segnext(
        folder,
        fmt::format("{}run --lr 0.5 : -n 1 '{}' {}run --lr 0.25", train, SEGNEXT_BINARY, train),
        mpirun(1));
    CAPTURE(o.err);
    CHECK(o.code == 2);
    CHECK(o.err.find(
              "rank 1 of 2 does not run what root (rank 0) runs: lr = 0.25, root has lr = 0.5") !=
          std::string::npos);
    CHECK(!fs::exists(folder / "run/state.safetensors"));
  }
  SUBCASE("another model") {
    const Outcome o = segnext(
        folder, fmt::format("{}run : -n 1 '{}' {}run --variant tiny", train, SEGNEXT_BINARY, train),
        mpirun(1));
    CAPTURE(o.err);
    CHECK(o.code == 2);
    CHECK(o.err.find("variant = \"tiny\", root has variant = \"nano\"") != std::string::npos);
  }
  SUBCASE("another data set") {
    fs::create_directories(folder / "other");
    const TemporaryFolder second;
    make_little_data(second);
    fs::remove(second / "images/train/2.png");
    fs::remove(second / "labels/train/2.png");
    // The same settings, from two places that look the same to each.
    const Outcome o = segnext(
        folder,
        fmt::format("{}'{}'/run : -n 1 -wdir '{}' '{}' {}'{}'/run", train, folder.path.string(),
                    second.path.string(), SEGNEXT_BINARY, train, folder.path.string()),
        mpirun(1));
    CAPTURE(o.err);
    CHECK(o.code == 2);
    CHECK(o.err.find("rank 1 of 2 does not run what root (rank 0) runs") != std::string::npos);
  }
  SUBCASE("more ranks than samples") {
    const Outcome o = run(folder, 4, train + "run");
    CAPTURE(o.err);
    CHECK(o.code == 2);
    CHECK(o.err.find("a batch of 3 has not a sample for each of 4 processes") != std::string::npos);
  }
  SUBCASE("no room for root's files") {
    const Outcome o = segnext(
        folder,
        fmt::format("sh -c 'ulimit -f 300; exec \"$0\" \"$@\"' '{0}' {1}run --checkpoint-every 4 : "
                    "-n 1 '{0}' {1}run --checkpoint-every 4",
                    SEGNEXT_BINARY, train),
        mpirun(1), "");
    CAPTURE(o.err);
    CHECK(o.code == 1);
    CHECK(o.err.find("rank 0 of 2") != std::string::npos);
    CHECK(o.err.find("state.safetensors") != std::string::npos);
  }
  SUBCASE("no memory on one") {
    // What the program needs for itself, and some more.
    int limit = 300'000;
    while (segnext(folder, "--version", fmt::format("ulimit -v {};", limit)).code != 0)
      limit += 100'000;
    const std::string large =
        "train --iterations 3 --batch 64 --crop 256 --val-every 0 --threads 1 --out run";
    const Outcome o =
        segnext(folder,
                fmt::format("'{0}' {1} : -n 1 sh -c 'ulimit -v {2}; exec \"$0\" \"$@\"' '{0}' {1}",
                            SEGNEXT_BINARY, large, limit + 400'000),
                mpirun(1), "");
    CAPTURE(o.err);
    CHECK(o.code == 1);
    CHECK(o.err.find("rank 1 of 2") != std::string::npos);
    CHECK(o.err.find("out of memory") != std::string::npos);
  }
}

TEST_CASE("ranks: pretraining with mixed batches is that of one process") {
  const TemporaryFolder folder;
  for (const char* split : {"train", "val"})
    for (int c = 0; c < 2; ++c)
      for (int i = 0; i < 4; ++i) {
        fs::create_directories(folder / fmt::format("data/{}/class{}", split, c));
        write_png(folder / fmt::format("data/{}/class{}/{}.png", split, c, i),
                  little_image(40, 48, static_cast<std::uint32_t>(10 * c + i)));
      }
  for (const int ranks : {1, 2, 3}) {
    const Outcome o =
        run(folder, ranks,
            fmt::format("pretrain --data-root data --size 64 --batch 7 --iterations 4 --threads 1 "
                        "--val-every 0 --out run{}",
                        ranks));
    CAPTURE(o.err);
    REQUIRE(o.code == 0);
    require_same_losses(log_of(folder / fmt::format("run{}", ranks)), log_of(folder / "run1"),
                        1e-4);
  }
}
