// Settings: TOML and options, their order, and what is refused.
#include <doctest/doctest.h>

#include <CLI/CLI.hpp>

#include "apps/commands/commands.h"
#include "apps/report/progress.h"
#include "apps/settings/run_config.h"
#include "tensor/error.h"
#include "tests/apps/program.h"

using namespace nextgrad;

namespace {

std::string refusal(const std::string& toml) {
  const TemporaryFolder folder;
  spill(folder / "a.toml", toml);
  TrainConfig config;
  try {
    load_config(folder / "a.toml", settings_of(config));
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("config: what is written is read back the same") {
  TrainConfig config;
  config.crop = {96, 160};
  config.lr = 1.0 / 3.0;
  config.data_root = "a \"quoted\" \\ path";
  config.transform.photometric.enabled = false;
  config.val_size = {360, 480};
  config.seed = 123456789;
  const TemporaryFolder folder;
  spill(folder / "config.toml", config_text(config));
  TrainConfig again;
  load_config(folder / "config.toml", settings_of(again));
  CHECK(config_text(again) == config_text(config));
  CHECK(again.lr == config.lr);
  CHECK(again.crop == Size{96, 160});
  CHECK(again.data_root == config.data_root);
}

TEST_CASE("config: options win over the file, the file over the default") {
  const TemporaryFolder folder;
  spill(folder / "a.toml", "lr = 0.5\nbatch = 3\ncrop = \"64x32\"\nphotometric = true\n");
  CLI::App app;
  TrainConfig defaults;
  std::map<std::string, std::string> given;
  Command(&app).settings(settings_of(defaults), given);
  app.parse("--batch 5 --no-photometric --val-size 480x352", false);
  TrainConfig config;
  load_config(folder / "a.toml", settings_of(config));
  apply_options(given, settings_of(config));
  CHECK(config.lr == 0.5);
  CHECK(config.batch == 5);
  CHECK_FALSE(config.transform.photometric.enabled);
  CHECK(config.crop == Size{32, 64});
  CHECK(config.val_size == Size{352, 480});
  CHECK(config.iterations == TrainConfig{}.iterations);
}

TEST_CASE("config: crop takes one number or height and width") {
  for (const auto& [text, size] : std::vector<std::pair<std::string, Size>>{
           {"--crop 64", {64, 64}}, {"--crop 64 96", {64, 96}}, {"--crop 64x96", {96, 64}}}) {
    CLI::App app;
    TrainConfig defaults;
    std::map<std::string, std::string> given;
    Command(&app).settings(settings_of(defaults), given);
    app.parse(text, false);
    TrainConfig config;
    apply_options(given, settings_of(config));
    CHECK(config.crop == size);
  }
}

TEST_CASE("config: a bad file is refused with file, line and remedy") {
  CHECK(has(refusal("lr = 1e-3\nval_every = 3\n"),
            "a.toml:2: val_every: unknown key; did you mean val-every?"));
  CHECK(has(refusal("batchh = 3\n"), "did you mean batch?"));
  CHECK(has(refusal("zzzzzzzzzzzz = 3\n"), "--help"));
  CHECK(has(refusal("\n\nlr = \"fast\"\n"), "a.toml:3: lr: should be a number"));
  CHECK(has(refusal("batch = 2.5\n"), "should be a whole number"));
  CHECK(has(refusal("batch = 0\n"), "batch: 0 is out of range"));
  CHECK(has(refusal("flip = nan\n"), "out of range"));
  CHECK(has(refusal("data = \"camvidd\"\n"), "choose scenes, "));
  CHECK(has(refusal("crop = \"10x\"\n"), "is not a size"));
  CHECK(has(refusal("crop = 16\n"), "32 to 16384"));
  CHECK(has(refusal("crop = 0\n"), "must not be 0"));
  CHECK(has(refusal("photometric = 1\n"), "should be true or false"));
  CHECK(has(refusal("lr = \n"), "a.toml:1: not valid TOML"));
  CHECK(has(refusal("[train]\nlr = 1\n"), "train.lr: unknown key"));
  TrainConfig config;
  CHECK_THROWS_AS(load_config("no-such-file.toml", settings_of(config)), InputError);
}

TEST_CASE("config: nearest by edits") {
  CHECK(nearest("iteration", {"lr", "iterations", "batch"}) == "iterations");
  CHECK(nearest("qqqqqqqq", {"lr", "iterations", "batch"}).empty());
}

TEST_CASE("progress: durations and sizes") {
  CHECK(format_duration(7.2) == "0:07");
  CHECK(format_duration(3753) == "1:02:33");
  CHECK(format_duration(-1) == "0:00");
  CHECK(format_bytes(812e6) == "812 MB");
  CHECK(format_bytes(1.4e9) == "1.40 GB");
}

TEST_CASE("program: --version says what it is, what it was built for and what is linked") {
  const TemporaryFolder folder;
  const Outcome o = segnext(folder, "--version");
  CHECK(o.code == 0);
  CHECK(o.err.empty());
  CHECK(o.out.find("segnext 0.") == 0);
  for (const char* part : {"(commit ", "built by ", "CUDA", "MIT", "LGPL-2.1"}) {
    CAPTURE(part);
    CHECK(has(o.out, part));
  }
}
