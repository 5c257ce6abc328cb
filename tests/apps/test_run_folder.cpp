// A run's folder is a data base: one owner, what belongs together, nothing lost, nothing silent.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "apps/training/label_survey.h"
#include "apps/training/trainer.h"
#include "data/weights/train_state.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;
using nlohmann::json;

namespace {

const std::string kLittle =
    "--data folder --data-root data.toml --variant nano --crop 32 --batch 2 --warmup 3 "
    "--pictures 1 --threads 1 ";

void replace(const std::string& path, const std::string& what, const std::string& with) {
  std::string text = slurp(path);
  const auto at = text.find(what);
  REQUIRE(at != std::string::npos);
  spill(path, text.replace(at, what.size(), with));
}

// One line on stderr that has `part`, exit code 2, and no file of the run changed.
void refused(const TemporaryFolder& folder, const std::string& arguments, const std::string& part) {
  CAPTURE(arguments);
  const auto o = segnext(folder, arguments);
  INFO(o.out << o.err);
  CHECK(o.code == 2);
  CHECK(lines_of(o.err) == 1);
  CHECK(o.err.find(part) != std::string::npos);
}

std::string iterations_of(const std::string& log) {
  std::string all;
  std::istringstream lines(slurp(log));
  for (std::string line; std::getline(lines, line);) {
    const json record = json::parse(line);
    all += fmt::format("{}{} ", record["iteration"].get<int>(),
                       record.contains("validation") ? "v" : "");
  }
  return all;
}

struct Half {  // a run that was stopped after 6 of 10 iterations, and a calm one of 10
  Half() {
    make_little_data(folder);
    const std::string settings = kLittle + "--val-every 4 --checkpoint-every 2 ";
    REQUIRE(segnext(folder, "train --out calm --iterations 10 " + settings).code == 0);
    REQUIRE(segnext(folder, "train --out run --iterations 6 " + settings).code == 0);
  }
  std::string last(const std::string& run) const {
    return slurp(folder / (run + "/last.safetensors"));
  }
  TemporaryFolder folder;
};

// As kLittle says it, for tasks that the tests run themselves.
TrainConfig little_config(const TemporaryFolder& folder) {
  TrainConfig config;
  config.data = "folder";
  config.data_root = folder / "data.toml";
  config.crop = {32, 32};
  config.threads = 1;
  config.pictures = 0;
  return config;
}

// A task that does what another does.
class Other : public TrainTask {
 public:
  Other(const TrainConfig& config, bool has_state) : task_(segmentation_task(config, has_state)) {}
  TrainerOptions options() const override { return task_->options(); }
  Module& model() override { return task_->model(); }
  std::unique_ptr<Optimizer> make_optimizer() override { return task_->make_optimizer(); }
  SampleMaker samples() const override { return task_->samples(); }
  Variable loss(const Batch& batch) override { return task_->loss(batch); }
  std::optional<Validation> validate(const More& more) override { return task_->validate(more); }
  void save_weights(const std::string& path) const override { task_->save_weights(path); }
  std::string report(const std::vector<json>& log, std::int64_t best) const override {
    return task_->report(log, best);
  }
  bool has_pictures() const override { return task_->has_pictures(); }

 private:
  std::unique_ptr<TrainTask> task_;
};

// A task that fails in its n-th loss, once its forward has changed the running statistics.
class Failing : public Other {
 public:
  Failing(const TrainConfig& config, bool has_state, int when)
      : Other(config, has_state), left_(when) {}
  Variable loss(const Batch& batch) override {
    const Variable value = Other::loss(batch);
    if (--left_ == 0) throw std::bad_alloc();
    return value;
  }

 private:
  int left_;
};

// A task that looks, when it is to be validated, how much of its training is saved.
class Watching : public Other {
 public:
  Watching(const TrainConfig& config, std::string state)
      : Other(config, false), state_(std::move(state)) {}
  std::optional<Validation> validate(const More& more) override {
    saved.push_back(load_train_state(state_).iteration);
    return Other::validate(more);
  }
  std::vector<std::int64_t> saved;

 private:
  std::string state_;
};

}  // namespace

TEST_CASE("run folder: one process owns it, and the other is told which") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const Background first(folder, "train --out run --iterations 100000 " + kLittle);
  REQUIRE(eventually([&] { return lines_of(slurp(folder / "run/log.jsonl")) >= 3; }));
  const std::string id = fmt::format("process {} on ", first.id());
  refused(folder, "train --out run --overwrite --iterations 2 " + kLittle, id);
  refused(folder, "train --resume run", id);
  refused(folder, "pretrain --out run --overwrite --data-root images --val-share 0.5", "images");
  first.send(SIGKILL);  // the lock dies with it
  first.wait();
  const auto o = segnext(folder, "train --out run --overwrite --iterations 2 " + kLittle);
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK_FALSE(fs::exists(folder / "run/.lock"));
}

TEST_CASE_FIXTURE(Half, "run folder: what does not belong together is not resumed") {
  const auto mended = [&](const std::string& file, const auto& harm, const std::string& part) {
    const std::string path = folder / ("run/" + file), before = slurp(path);
    harm(path);
    refused(folder, "train --resume run", part);
    spill(path, before);
  };
  for (const auto& [key, from, to] :
       {std::tuple("lr", "lr = 0.0006", "lr = 0.06"), std::tuple("seed", "seed = 0", "seed = 5"),
        std::tuple("batch", "batch = 2", "batch = 3"),
        std::tuple("data", "data = \"folder\"", "data = \"scenes\""),
        std::tuple("crop", "crop = 32", "crop = 64")})
    mended(
        "config.toml", [&](const auto& p) { replace(p, from, to); }, std::string(key) + " is");
  mended(
      "config.toml", [&](const auto& p) { spill(p, ""); }, "is missing");
  mended(
      "config.toml", [&](const auto& p) { spill(p, slurp(p).substr(0, slurp(p).find("lr ="))); },
      "is missing: the file was cut");
  mended(
      "config.toml", [&](const auto& p) { replace(p, "flip =", "# flip ="); }, "flip = 0.5");
  mended(
      "state.safetensors", [&](const auto& p) { fs::remove(p); }, "state.safetensors: is missing");
  // A single bit of the numbers, of what is said of them, and of the log.
  mended(
      "state.safetensors",
      [&](const auto& p) {
        auto text = slurp(p);
        text[text.size() - 1001] = static_cast<char>(text[text.size() - 1001] ^ 4);
        spill(p, text);
      },
      "state.safetensors");
  mended(
      "log.jsonl", [&](const auto& p) { replace(p, "\"loss\":", "\"lass\":"); }, "log.jsonl");
  mended(
      "log.jsonl", [&](const auto& p) { spill(p, slurp(p).substr(0, 200)); }, "log.jsonl");
  // Another run's state.
  REQUIRE(segnext(folder, "train --out other --iterations 2 --seed 3 " + kLittle).code == 0);
  mended(
      "state.safetensors",
      [&](const auto& p) { spill(p, slurp(folder / "other/state.safetensors")); }, "seed is 0");
  // What was mended goes on, to what an undisturbed run ends with.
  const auto o = segnext(folder, "train --resume run --iterations 10 --workers 0");
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(o.out.find("iterations: 10 from now on, 6 before") != std::string::npos);
  CHECK(o.out.find("workers: 0 from now on, 1 before") != std::string::npos);
}

TEST_CASE_FIXTURE(Half, "run folder: settings that may change do, and iterations only grow") {
  refused(folder, "train --resume run --iterations 5", "can only grow");
  refused(folder, "train --resume run --batch 4", "--batch: cannot change");
  // Without its config.toml the state says all; what a killed process wrote behind its last
  // checkpoint is dropped.
  fs::remove(folder / "calm/config.toml");
  spill(folder / "calm/log.jsonl", slurp(folder / "calm/log.jsonl") + "{\"iteration\":11,\"lo");
  const std::string calm = last("calm"), log = iterations_of(folder / "run/log.jsonl");
  const auto o = segnext(folder, "train --resume calm");
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(o.out.find("config.toml: is missing") != std::string::npos);
  CHECK(last("calm") == calm);
  CHECK(fs::exists(folder / "calm/config.toml"));
  CHECK(iterations_of(folder / "calm/log.jsonl") == "1 2 3 4 4v 5 6 7 8 8v 9 10 10v ");
  CHECK(log == "1 2 3 4 4v 5 6 6v ");
  fs::remove(folder / "run/log.jsonl");
  const auto without = segnext(folder, "train --resume run --iterations 8");
  INFO(without.err);
  CHECK(without.code == 0);
  CHECK(without.out.find("log.jsonl: is missing") != std::string::npos);
  CHECK(iterations_of(folder / "run/log.jsonl") == "7 8 8v ");
}

TEST_CASE_FIXTURE(Half, "run folder: the data set must be the one it began with") {
  const auto whole = slurp(folder / "data.toml");
  replace(folder / "data.toml", "\"left\", \"right\"", "\"right\", \"left\"");
  refused(folder, "train --resume run", "class 0 was left and is right");
  spill(folder / "data.toml", whole);
  fs::copy(folder / "images/train/1.png", folder / "images/train/9.png");
  fs::copy(folder / "labels/train/1.png", folder / "labels/train/9.png");
  refused(folder, "train --resume run", "train had 3 samples and has 4");
  fs::remove(folder / "images/train/1.png");
  fs::remove(folder / "labels/train/1.png");
  refused(folder, "train --resume run", "train has samples of other names");
  fs::rename(folder / "images/train/9.png", folder / "images/train/1.png");
  fs::rename(folder / "labels/train/9.png", folder / "labels/train/1.png");
  // Moved to another place it still is the same.
  fs::create_directory(folder / "moved");
  for (const char* part : {"images", "labels", "data.toml"})
    fs::rename(folder / part, folder / (std::string("moved/") + part));
  const auto o = segnext(folder, "train --resume run --data-root moved/data.toml");
  INFO(o.err);
  CHECK(o.code == 0);
}

TEST_CASE("run folder: a validation that fails costs nothing that was trained") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string settings = kLittle + "--iterations 5 --val-every 3 --checkpoint-every 0 ";
  REQUIRE(segnext(folder, "train --out calm " + settings).code == 0);
  const std::string label = slurp(folder / "labels/val/1.png");
  write_png(folder / "labels/val/1.png", LabelMap{40, 48, std::vector<std::uint8_t>(40 * 48, 3)});
  const auto o = segnext(folder, "train --out run " + settings);
  INFO(o.err);
  CHECK(o.code == 2);
  CHECK(lines_of(o.err) == 1);
  CHECK(o.err.find("labels/val/1.png") != std::string::npos);
  CHECK(o.err.find("iteration 3 is saved") != std::string::npos);
  CHECK(o.err.find("segnext train --resume 'run'") != std::string::npos);
  CHECK(load_train_state(folder / "run/state.safetensors").iteration == 3);
  spill(folder / "labels/val/1.png", label);
  REQUIRE(segnext(folder, "train --resume run").code == 0);
  CHECK(slurp(folder / "run/last.safetensors") == slurp(folder / "calm/last.safetensors"));
  CHECK(slurp(folder / "run/best.safetensors") == slurp(folder / "calm/best.safetensors"));
  CHECK(iterations_of(folder / "run/log.jsonl") == "1 2 3 3v 4 5 5v ");
}

TEST_CASE("run folder: a damaged picture ends a run that is saved, or is left out and told") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string settings =
      kLittle + "--iterations 6 --accumulate 2 --val-every 0 --checkpoint-every 0 --seed 1 ";
  REQUIRE(segnext(folder, "train --out calm " + settings).code == 0);
  const std::string picture = slurp(folder / "images/train/2.png");
  spill(folder / "images/train/2.png", picture.substr(0, picture.size() / 2));
  // Three pictures and batches of two: it is in the first or the second micro-batch; trained on
  // until there, the run is saved at a whole iteration, none in this case.
  const auto o = segnext(folder, "train --out run " + settings);
  INFO(o.err);
  CHECK(o.code == 2);
  CHECK(o.err.find("2.png") != std::string::npos);
  CHECK(o.err.find("no checkpoint was written yet") != std::string::npos);
  const auto left = segnext(folder, "train --out left --skip-damaged 1 " + settings);
  INFO(left.out << left.err);
  REQUIRE(left.code == 0);
  CHECK(left.out.find("left out: ") != std::string::npos);
  CHECK(slurp(folder / "left/log.jsonl").find("\"skipped\":\"2\"") != std::string::npos);
  CHECK(slurp(folder / "left/report.html").find("damaged, left out") != std::string::npos);
  // Met again after a resume, it is no other picture.
  CHECK(segnext(folder, "train --resume left --iterations 9").code == 0);
  spill(folder / "images/train/1.png", "no picture");
  refused(folder, "train --out two --skip-damaged 1 " + settings, "--skip-damaged 1");
  spill(folder / "images/train/0.png", "no picture");
  refused(folder, "train --out none --skip-damaged 9 " + settings, "can be read");
  // One that becomes damaged on the way.
  for (const int i : {0, 1})
    write_png(folder / fmt::format("images/train/{}.png", i),
              little_image(40, 48, static_cast<std::uint32_t>(i)));
  spill(folder / "images/train/2.png", picture);
  const Background run(folder, "train --out way " + settings + "--workers 0 --iterations 100000");
  REQUIRE(eventually([&] { return lines_of(slurp(folder / "way/log.jsonl")) >= 6; }));
  spill(folder / "images/train/1.png", "no picture");
  CHECK(run.wait() == 2);
  const auto state = load_train_state(folder / "way/state.safetensors");
  CHECK(state.iteration == static_cast<std::int64_t>(lines_of(slurp(folder / "way/log.jsonl"))));
  // One too many stays one too many, however often the run goes on.
  spill(folder / "images/train/2.png", "no picture");
  for (int i = 0; i < 2; ++i)
    refused(folder, "train --resume way --skip-damaged 1", "--skip-damaged 1 are left out");
}

TEST_CASE("run folder: the state is saved before a validation begins") {
  const TemporaryFolder folder;
  make_little_data(folder);
  TrainConfig config = little_config(folder);
  config.batch = 2;
  config.iterations = 5;
  config.val_every = 2;
  const RunFolder run{folder / "run"};
  fs::create_directories(run.path);
  Watching task(config, run.state());
  CHECK(run_training(task, run, std::nullopt));
  CHECK(task.saved == std::vector<std::int64_t>{2, 4, 5});
}

TEST_CASE("run folder: an iteration that fails half-way is taken back before the rest is saved") {
  const TemporaryFolder folder;
  make_little_data(folder);
  TrainConfig config = little_config(folder);
  config.batch = 2;
  config.iterations = 6;
  config.val_every = 0;
  config.ema = 0.9;
  config.lr = 1e-3;
  for (const std::int64_t accumulate : {1, 2}) {
    config.accumulate = accumulate;
    const auto run = [&](const std::string& name, int when, bool resume) {
      const RunFolder to{folder / fmt::format("{}{}", name, accumulate)};
      fs::create_directories(to.path);
      std::optional<TrainState> state;
      if (resume) state = load_train_state(to.state());
      Failing task(config, resume, when);
      run_training(task, to, state);
      return slurp(to.last());
    };
    const std::string calm = run("calm", 0, false);
    std::string said;
    try {
      run("run", static_cast<int>(4 * accumulate), false);  // its last micro-batch
    } catch (const Error& e) {
      said = e.what();
    }
    CHECK(said.find("out of memory in training at iteration 4; lower --batch") == 0);
    CHECK(said.find("iteration 3 is saved") != std::string::npos);
    CHECK(run("run", 0, true) == calm);
  }
}

TEST_CASE("run folder: a dead terminal never ends a training, and nothing lands in its files") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string train = "train --iterations 3 --val-every 2 " + kLittle + "--out ";
  const auto run = [&](const std::string& name, const std::string& redirection) {
    CAPTURE(redirection);
    const std::string command = fmt::format("cd '{}' && '{}' {}{} {}", folder.path.string(),
                                            SEGNEXT_BINARY, train, name, redirection);
    CHECK(WEXITSTATUS(std::system(command.c_str())) == 0);
    CHECK(iterations_of(folder / (name + "/log.jsonl")) == "1 2 2v 3 3v ");
  };
  run("a", ">&- 2>/dev/null </dev/null");
  run("b", ">&- 2>&- <&-");
  run("c", ">/dev/full 2>/dev/full");
  run("d", "2>&1 | true");
  // An error has its exit code whether or not anybody can be told.
  for (const char* redirection :
       {"2>&-", "2>/dev/full", ">&- 2>&- <&-", ">/dev/full 2>/dev/full"}) {
    CAPTURE(redirection);
    const int status = std::system(
        fmt::format("'{}' eval --weights nothing {}", SEGNEXT_BINARY, redirection).c_str());
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 2);
  }
  // What nobody could read is a failure where it was all that was asked for.
  const int status =
      std::system(fmt::format("'{}' preset list >/dev/full 2>&1", SEGNEXT_BINARY).c_str());
  CHECK(WEXITSTATUS(status) == 1);
}

TEST_CASE("run folder: SIGHUP saves, unless it is ignored") {
  const TemporaryFolder folder;
  make_little_data(folder);
  signal(SIGHUP, SIG_DFL);  // the suite itself may run under nohup
  const Background run(folder, "train --out run --iterations 100000 " + kLittle);
  REQUIRE(eventually([&] { return lines_of(slurp(folder / "run/log.jsonl")) >= 4; }));
  for (int i = 0; i < 4; ++i) run.send(SIGHUP);  // however often
  CHECK(run.wait() == 0);
  CHECK(load_train_state(folder / "run/state.safetensors").iteration >= 4);
  signal(SIGHUP, SIG_IGN);
  const Background nohup(folder, "train --resume run");
  signal(SIGHUP, SIG_DFL);
  const std::size_t lines = lines_of(slurp(folder / "run/log.jsonl"));
  REQUIRE(eventually([&] { return lines_of(slurp(folder / "run/log.jsonl")) >= lines + 4; }));
  nohup.send(SIGHUP);
  REQUIRE(eventually([&] { return lines_of(slurp(folder / "run/log.jsonl")) >= lines + 9; }));
  nohup.send(SIGTERM);
  CHECK(nohup.wait() == 75);
}

TEST_CASE("run folder: labels that teach nothing are refused before the first iteration") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const auto fill = [&](const std::string& split, std::uint8_t from, std::uint8_t to) {
    for (const auto& entry : fs::directory_iterator(folder / ("labels/" + split))) {
      LabelMap map = read_label(entry.path().string());
      for (auto& v : map.values)
        if (v >= from && v != 255) v = to;
      write_png(entry.path().string(), map);
    }
  };
  const std::string train = "train --out run --overwrite --iterations 2 " + kLittle;
  fill("train", 2, 255);
  const auto warned = segnext(folder, train);
  INFO(warned.err);
  CHECK(warned.code == 0);
  CHECK(lines_of(warned.err) == 1);
  CHECK(warned.err.find("train have no pixel of blob") != std::string::npos);
  CHECK(warned.err.find("255") != std::string::npos);
  fill("train", 1, 255);
  refused(folder, train, "only left, and no pixel of right, blob");
  refused(folder, train, "values = {");
  fill("train", 0, 255);
  refused(folder, train, "all are ignored");
  for (int i = 0; i < 3; ++i) {
    LabelMap label;
    little_image(40, 48, static_cast<std::uint32_t>(i), &label);
    write_png(folder / fmt::format("labels/train/{}.png", i), label);
  }
  fill("val", 0, 255);
  refused(folder, train, "split val have no pixel of any class");
}

// n label maps of one pixel: of class 1 the last, of class 0 the others; one cannot be read.
struct Pixels : Dataset {
  Pixels(std::int64_t n, std::int64_t damaged) : n_(n), damaged_(damaged) { classes_ = {"a", "b"}; }
  std::int64_t size() const override { return n_; }
  std::string name(std::int64_t i) const override { return std::to_string(i); }
  Sample load(std::int64_t i) const override {
    if (i == damaged_) fail_input("{}: damaged", i);
    return {name(i), {}, {1, 1, {static_cast<std::uint8_t>(i == n_ - 1)}}};
  }

 private:
  std::int64_t n_, damaged_;
};

TEST_CASE("run folder: a damaged label hides no other from the survey") {
  for (std::int64_t n = 3; n < 40; ++n)
    for (std::int64_t damaged = 0; damaged + 1 < n; ++damaged) {
      CAPTURE(n);
      CAPTURE(damaged);
      CHECK(survey_labels(Pixels(n, damaged), "train", {.pass_damaged = true}).empty());
    }
  const std::string absent = survey_labels(Pixels(5, 4), "val", {.pass_damaged = true});
  CHECK(absent.find("no pixel of b") != std::string::npos);
  CHECK_THROWS_AS(survey_labels(Pixels(5, 4), "val", {}), InputError);
}

TEST_CASE("run folder: a path of any bytes and lengths can be resumed") {
  const TemporaryFolder folder;
  for (const std::string& name :
       {std::string("with\nline and \x7f and \x1b[31m"), std::string("not utf-8 \xff\xc3("),
        std::string("private \xf4\x8f\xbe\x80 and \"quotes' \\"), std::string(240, 'n'),
        std::string("Straße 道")}) {
    CAPTURE(name);
    fs::create_directories(folder.path / name);
    const TemporaryFolder from;
    make_little_data(from);
    for (const char* part : {"images", "labels", "data.toml"})
      fs::copy(from / part, folder.path / name / part, fs::copy_options::recursive);
    spill(folder / "names.sh", fmt::format("name='{}'", [&] {
            std::string quoted;
            for (const char c : name) quoted += c == '\'' ? "'\\''" : std::string(1, c);
            return quoted;
          }()));
    const std::string load = ". ./names.sh;";
    const auto first = segnext(folder,
                               "train --out \"$name/run\" --iterations 2 --data folder --data-root "
                               "\"$name/data.toml\" --crop 32 --batch 2 --pictures 1 --threads 1",
                               load);
    INFO(first.err);
    REQUIRE(first.code == 0);
    CHECK(first.out.find('\x1b') == std::string::npos);
    const auto second = segnext(folder, "train --resume \"$name/run\" --iterations 3", load);
    INFO(second.err);
    CHECK(second.code == 0);
    CHECK(lines_of(slurp((folder.path / name / "run/log.jsonl").string())) == 5);
  }
}

TEST_CASE("run folder: settings out of range, and epochs") {
  const TemporaryFolder folder;
  make_little_data(folder);
  refused(folder, "train --iterations 9223372036854775807", "out of range; from 1 to 1");
  refused(folder, "train --iterations 99999999999999999999", "not a whole number");
  refused(folder, "train " + kLittle + "--batch 1", "batch norm");
  CHECK(segnext(folder, "train --out ok --iterations 1 " + kLittle + "--batch 1 --crop 64").code ==
        0);
  refused(folder, "train --max-pixels 1919 " + kLittle, "48 x 40");
  refused(folder, "train --epochs 2 --iterations 3", "exclude each other");
  refused(folder, "train --epoch 2", "did you mean --epochs?");
  REQUIRE(mkfifo((folder / "pipe.toml").c_str(), 0600) == 0);
  refused(folder, "train --config pipe.toml", "not a regular file");
  refused(folder, "train --data folder --data-root pipe.toml", "pipe.toml");
  const auto o = segnext(folder, "train --out run " + kLittle + "--epochs 4");  // of 3 images
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(o.out.find("6/6") != std::string::npos);
  CHECK(segnext(folder, "train --resume run --epochs 6").code == 0);
  CHECK(lines_of(slurp(folder / "run/log.jsonl")) == 9 + 2);
  CHECK(segnext(folder, "train --resume run --iterations 10").code == 0);
  CHECK(lines_of(slurp(folder / "run/log.jsonl")) == 10 + 3);
  refused(folder, "train --resume run --epochs 1", "can only grow");
}
