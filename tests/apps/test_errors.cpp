// Bad input of every kind: one line that names it, exit code 2 (1 for a failure at run time), and
// nothing that was there is harmed.
#include <doctest/doctest.h>

#include "data/images/image.h"
#include "data/weights/weights_file.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;

namespace {

const std::string kTrain =
    "train --data folder --data-root data.toml --variant nano --crop 32 --batch 2 --iterations 2 "
    "--pictures 0 ";
const std::string kEval = "eval --data folder --data-root data.toml --weights ";

void refused(const TemporaryFolder& folder, const std::string& arguments, const std::string& part,
             int code = 2, const std::string& before = "") {
  CAPTURE(arguments);
  const auto o = segnext(folder, arguments, before);
  INFO(o.err);
  CHECK(o.code == code);
  CHECK(lines_of(o.err) == 1);
  CHECK(o.err.rfind("segnext: ", 0) == 0);
  CHECK(o.err.find(part) != std::string::npos);
}

struct Trained {  // one run for all cases below
  Trained() {
    make_little_data(folder);
    const auto o = segnext(folder, kTrain + "--out run");
    INFO(o.err);
    REQUIRE(o.code == 0);
  }
  TemporaryFolder folder;
};

}  // namespace

TEST_CASE("errors: usage") {
  const TemporaryFolder folder;
  refused(folder, "", "subcommand");
  refused(folder, "trian", "trian");
  refused(folder, "train --iteration 3", "did you mean --iterations?");
  refused(folder, "train --lr fast", "--lr: 'fast' is not a number");
  refused(folder, "train --lr", "--lr");
  refused(folder, "train --batch 0", "--batch: 0 is out of range");
  refused(folder, "train --variant huge", "choose nano, tiny");
  refused(folder, "train --scale-min 3", "--scale-max");
  refused(folder, "train --device gpu", "gpu");
  refused(folder, "train --crop 32 32 32", "32");
  refused(folder, "train --config no.toml", "no.toml");
  refused(folder, "train --resume a --overwrite", "--resume");
  refused(folder, "eval", "--weights");
  refused(folder, "eval --weights no.safetensors", "no.safetensors");
  refused(folder, "predict --weights no.safetensors", "images");
  refused(folder, "info --size 31x64", "31");
  refused(folder, "info --variant huge", "huge");
  // What no model can be, in the words of the settings.
  refused(folder, "train --decoder.kind aspp --batch 1", "--batch");
  refused(folder, "train --encoder.branches [] --encoder.gate none", "encoder.branches");
  refused(folder, "train --encoder.channels 8,16", "encoder.channels");
  refused(folder, "train --decoder.rank 65", "decoder.width 64");
  refused(folder, "train --decoder.kind uper --decoder.stages 4", "decoder.stages");
  refused(folder, "train --decoder.kind hamm", "choose own, ham");
  refused(folder, "train --variant b0 --encoder.gate none", "encoder.gate");
  refused(folder, "bench --classes 0", "--classes");
  for (const char* sub : {"train", "eval", "predict", "info", "bench"}) {
    const auto o = segnext(folder, std::string(sub) + " --help");
    CHECK(o.code == 0);
    CHECK(o.out.find("Example") != std::string::npos);
    CHECK(o.out.find(fmt::format("\n  segnext {} --", sub)) != std::string::npos);
  }
}

TEST_CASE("errors: data sets") {
  const TemporaryFolder folder;
  make_little_data(folder);
  refused(folder, "train --data camvid --data-root nowhere", "nowhere");
  refused(folder, "train --data folder --data-root no.toml", "no.toml");
  spill(folder / "odd.toml", "classes = [\"a\"]\npalete = []\n");
  refused(folder, "train --data folder --data-root odd.toml", "palete");
  const auto whole = slurp(folder / "images/train/1.png");
  spill(folder / "images/train/1.png", whole.substr(0, whole.size() / 2));
  refused(folder, kTrain + "--out a", "1.png");
  spill(folder / "images/train/1.png", whole);
  // A label that no class has, labels of another size, an image without a label.
  const auto label = slurp(folder / "labels/train/2.png");
  write_png(folder / "labels/train/2.png", LabelMap{40, 48, std::vector<std::uint8_t>(40 * 48, 3)});
  refused(folder, kTrain + "--out b", "labels/train/2.png");
  write_png(folder / "labels/train/2.png", LabelMap{48, 40, std::vector<std::uint8_t>(40 * 48, 1)});
  refused(folder, kTrain + "--out c", "2.png");
  fs::remove(folder / "labels/train/2.png");
  refused(folder, kTrain + "--out d", "2");
  CHECK_FALSE(fs::exists(folder / "d"));
}

TEST_CASE_FIXTURE(Trained, "errors: a run is never clobbered") {
  const std::string before = slurp(folder / "run/last.safetensors");
  refused(folder, kTrain + "--out run", "--overwrite");
  refused(folder, kTrain + "--out run --overwrite --data-root no.toml", "no.toml");
  refused(folder, kTrain + "--out run --overwrite --pretrained data.toml", "data.toml");
  refused(folder, "train --resume run --lr 0.5", "--lr: cannot change");
  refused(folder, "train --resume nowhere", "nowhere");
  refused(folder, kTrain + "--out data.toml", "data.toml");
  CHECK(slurp(folder / "run/last.safetensors") == before);
  const std::string state = slurp(folder / "run/state.safetensors");
  spill(folder / "run/state.safetensors", state.substr(0, state.size() - 100));
  refused(folder, "train --resume run", "state.safetensors");
  std::string flipped = state;
  flipped[state.size() / 2] ^= 1;
  spill(folder / "run/state.safetensors", flipped);
  refused(folder, "train --resume run", "does not match its check sum");
  CHECK(slurp(folder / "run/last.safetensors") == before);
  CHECK(segnext(folder, kTrain + "--out run --overwrite --seed 1").code == 0);
  CHECK(slurp(folder / "run/last.safetensors") != before);
}

TEST_CASE_FIXTURE(Trained, "errors: weights") {
  const std::string weights = slurp(folder / "run/last.safetensors");
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{4}, std::size_t{100}, weights.size() - 1}) {
    spill(folder / "cut.safetensors", weights.substr(0, size));
    refused(folder, kEval + "cut.safetensors", "cut.safetensors");
  }
  refused(folder, kEval + "data.toml", "data.toml");
  refused(folder, kEval + "images", "images: is a folder");
  refused(folder, kEval + "run/state.safetensors", "state.safetensors");
  refused(folder, kEval + "run/last.safetensors --variant tiny", "nano");
  refused(folder, "eval --weights run/last.safetensors --data scenes", "3 classes");
  std::string flipped = weights;
  flipped[flipped.size() - 9] ^= 4;
  spill(folder / "flipped.safetensors", flipped);
  refused(folder, kEval + "flipped.safetensors", "does not match its check sum");
  refused(folder, "convert flipped.safetensors a.pth", "does not match its check sum");
  refused(folder, "info flipped.safetensors", "does not match its check sum");
  refused(folder, kTrain + "--out a --pretrained flipped.safetensors", "check sum");
  WeightsFile other = read_safetensors(folder / "run/last.safetensors");
  other.metadata["variant"] = "base";
  write_safetensors(folder / "other.safetensors", other.tensors, other.metadata);
  refused(folder, kEval + "other.safetensors", "another model");
}

TEST_CASE_FIXTURE(Trained, "errors: images to predict") {
  const std::string predict = "predict --weights run/last.safetensors --output out ";
  refused(folder, predict + "nothing.png", "nothing.png");
  refused(folder, predict + "'no*.png'", "no*.png");
  refused(folder, predict + "data.toml", "data.toml");
  fs::create_directories(folder / "empty");
  refused(folder, predict + "empty", "empty");
  refused(folder, predict, "images");
  refused(folder, "predict --weights run/last.safetensors images/val --output data.toml",
          "data.toml");
}

TEST_CASE_FIXTURE(Trained, "errors: nowhere to write") {
  const std::string before = slurp(folder / "run/last.safetensors");
  refused(folder, kEval + "run/last.safetensors --json /dev/full", "/dev/full", 1);
  CHECK(fs::is_character_file("/dev/full"));
  refused(folder, kEval + "run/last.safetensors --json missing/a.json", "missing/a.json");
  // A file-size limit of 100 blocks stands for a full disk: the weights do not fit.
  refused(folder, kTrain + "--out small", "safetensors", 1, "ulimit -f 100;");
  CHECK_FALSE(fs::exists(folder / "small/last.safetensors"));
  for (const auto& entry : fs::directory_iterator(folder / "small"))
    CHECK_FALSE(entry.path().string().ends_with(".tmp"));
  const std::string full =
      fmt::format("'{}' info >/dev/full 2>'{}'", SEGNEXT_BINARY, folder / "e.txt");
  const int status = std::system(full.c_str());
  CHECK(WEXITSTATUS(status) == 1);
  CHECK(lines_of(slurp(folder / "e.txt")) == 1);
  if (geteuid() != 0) {  // root may write anywhere
    fs::create_directories(folder / "locked");
    fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
    refused(folder, kTrain + "--out locked/run", "locked");
    refused(folder, kTrain + "--out locked", "locked");
  } else {
    refused(folder, kTrain + "--out /proc/run", "/proc/run");
  }
  CHECK(slurp(folder / "run/last.safetensors") == before);
}
