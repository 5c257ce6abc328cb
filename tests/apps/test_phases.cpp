// Recipes of several phases, on the miniatures of their data sets.
#include <doctest/doctest.h>

#include <utility>

#include "apps/settings/presets.h"
#include "data/weights/train_state.h"
#include "data/weights/weights_file.h"
#include "tensor/error.h"
#include "tests/apps/program.h"
#include "tests/data/miniatures.h"

using namespace nextgrad;

namespace {

const std::string kSmall =
    " --variant nano --crop 32 --batch 2 --iterations 3 --workers 1 --base-size 64x48 ";

TrainConfig config_of(const std::string& file) {
  TrainConfig config;
  load_config(file, settings_of(config));
  return config;
}

}  // namespace

TEST_CASE("phases: the paper's VOC, Context and ImageNet recipes") {
  struct Row {
    const char *preset, *data[2];
    std::int64_t iterations[2];
    const char* split;
  };
  for (const Row& row :
       {Row{"voc-trainval-small", {"vocaug", "voc"}, {80000, 80000}, "trainval"},
        {"voc-coco-large", {"cocostuff", "voc"}, {600000, 40000}, "trainval"},
        {"context59-ade20k-large", {"ade20k", "context59"}, {160000, 80000}, "train"}}) {
    CAPTURE(row.preset);
    const auto phases = preset_phases(row.preset);
    REQUIRE(phases.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
      const auto& c = std::get<TrainConfig>(phases[i].config);
      CHECK(c.data == row.data[i]);
      CHECK(c.iterations == row.iterations[i]);
      CHECK(c.train_split == (i == 0 ? "train" : row.split));
      CHECK(c.lr == 6e-5);
    }
  }
  const auto imagenet = preset_phases("imagenet-cityscapes-base");
  REQUIRE(imagenet.size() == 2);
  const auto& first = std::get<PretrainConfig>(imagenet[0].config);
  CHECK(first.epochs == 300);
  CHECK(first.batch * first.accumulate == 1024);
  CHECK(first.variant == "base");
  CHECK(std::get<TrainConfig>(imagenet[1].config).crop == Size{1024, 1024});
  CHECK(preset_phases("ade20k-tiny").empty());
}

TEST_CASE(
    "phases: COCO, then VOC's trainval; stopped in either and resumed like one that was not") {
  const TemporaryFolder folder;
  testing::make_miniature("cocostuff", folder / "coco");
  testing::make_miniature("voc", folder / "voc");
  const std::string start =
      "train --preset voc-coco-tiny --data-root cocostuff=coco,voc=voc" + kSmall;
  const auto whole = segnext(folder, start + "--out whole");
  INFO(whole.err);
  REQUIRE(whole.code == 0);
  CHECK(whole.out.find("phase 2 of 2: voc") != std::string::npos);
  const TrainConfig second = config_of(folder / "whole/2-voc/config.toml");
  CHECK(second.pretrained == folder / "whole/1-cocostuff/last.safetensors");
  CHECK(second.reset_classifier);
  CHECK(second.train_split == "trainval");
  CHECK(config_of(folder / "whole/1-cocostuff/config.toml").pretrained.empty());
  // As if it had been killed right after the first phase, or before it wrote anything of it.
  for (const char* lost : {"2-voc", "1-cocostuff"}) {
    CAPTURE(lost);
    std::filesystem::copy(folder / "whole", folder / lost,
                          std::filesystem::copy_options::recursive);
    std::filesystem::remove_all(folder / (std::string(lost) + "/2-voc"));
    std::filesystem::remove_all(folder / (std::string(lost) + "/" + lost));
    const auto resumed = segnext(folder, std::string("train --resume ") + lost);
    INFO(resumed.err);
    REQUIRE(resumed.code == 0);
    const bool again = resumed.out.find("phase 1 of 2") != std::string::npos;
    CHECK(again == (lost == std::string("1-cocostuff")));
    const auto ours = read_weights(folder / (std::string(lost) + "/2-voc/last.safetensors")),
               theirs = read_weights(folder / "whole/2-voc/last.safetensors");
    REQUIRE(ours.tensors.size() == theirs.tensors.size());
    for (std::size_t i = 0; i < ours.tensors.size(); ++i)
      CHECK(ours.tensors[i].value.to_vector<float>() == theirs.tensors[i].value.to_vector<float>());
  }
  // As if it had been killed after the last iteration, before the validation.
  std::filesystem::copy(folder / "whole", folder / "cut", std::filesystem::copy_options::recursive);
  TrainState state = load_train_state(folder / "cut/2-voc/state.safetensors");
  REQUIRE(std::exchange(state.extra["validated"], "0") == "3");
  save_train_state(folder / "cut/2-voc/state.safetensors", state);
  const auto validated = segnext(folder, "train --resume cut");
  INFO(validated.err);
  CHECK(validated.code == 0);
  CHECK(validated.out.find("validation at 3") != std::string::npos);
  // All is done: nothing is trained again.
  const auto done = segnext(folder, "train --resume whole");
  CHECK(done.code == 0);
  CHECK(done.out.find("phase") == std::string::npos);
  CHECK(segnext(folder, "train --resume whole --batch 4").code == 2);
  CHECK(segnext(folder, start + "--out whole").code == 2);  // is there already
  // Weights to start from are the first phase's.
  const auto from =
      segnext(folder, start + "--out from --pretrained whole/1-cocostuff/last.safetensors");
  INFO(from.err);
  REQUIRE(from.code == 0);
  CHECK(config_of(folder / "from/1-cocostuff/config.toml").pretrained ==
        folder / "whole/1-cocostuff/last.safetensors");
  CHECK(config_of(folder / "from/2-voc/config.toml").pretrained ==
        folder / "from/1-cocostuff/last.safetensors");
}

TEST_CASE(
    "phases: pictures of classes come first; a file of phases; what is missing is said at once") {
  const TemporaryFolder folder;
  testing::make_miniature("voc", folder / "voc");
  for (const char* split : {"train", "val"})
    for (const char* name : {"cat", "dog"})
      for (int i = 0; i < 4; ++i) {
        const auto path = folder / fmt::format("pictures/{}/{}/{}.jpg", split, name, i);
        std::filesystem::create_directories(std::filesystem::path(path).parent_path());
        std::filesystem::copy(
            folder / "voc/VOCdevkit/VOC2012/JPEGImages/" +
                std::filesystem::directory_iterator(folder / "voc/VOCdevkit/VOC2012/JPEGImages")
                    ->path()
                    .filename()
                    .string(),
            path);
      }
  spill(folder / "mine.toml", R"(
[[phase]]
name = "pictures"
command = "pretrain"
size = 32
iterations = 2
epochs = 0.001
[[phase]]
name = "pixels"
data = "voc"
crop = 32
iterations = 2
base-size = "64x48"
)");
  const std::string start = "train --config mine.toml --batch 2 --workers 1 --out run ";
  const auto lacking = segnext(folder, start + "--data-root pictures=pictures");
  CHECK(lacking.code == 2);
  CHECK(lines_of(lacking.err) == 1);
  CHECK(lacking.err.find("phase pixels:") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  // Folders by the phase's name, or by the kind of data.
  const auto run = segnext(folder, start + "--data-root pictures=pictures,voc=voc");
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(run.out.find("encoder: ") != std::string::npos);
  // The classifier of pictures is none of pixels.
  CHECK(config_of(folder / "run/2-pixels/config.toml").reset_classifier);
  for (const auto& [text, wanted] : std::map<std::string, std::string>{
           {"[[phase]]\nname = \"a/b\"\n", "is no name of a folder"},
           {"[[phase]]\ncommand = \"predict\"\n", "choose train, pretrain"},
           {"[[phase]]\nlearning = 1\n", "mine.toml:2: learning: unknown key"},
           {"lr = 1\n[[phase]]\nname = \"a\"\n", "lr: unknown key"},
           {"[[phase]]\n", "is no name of a folder"},
           {"[[faze]]\nlr = 1\n", "faze.0.lr: unknown key"},
           {"[phase.99999999999]\nlr = 1\n", "phase.99999999999.lr: unknown key"}}) {
    CAPTURE(text);
    spill(folder / "mine.toml", text);
    const auto refused = segnext(folder, "train --config mine.toml --out other");
    CHECK(refused.code == 2);
    CHECK(lines_of(refused.err) == 1);
    CHECK_MESSAGE(refused.err.find(wanted) != std::string::npos, refused.err);
  }
}
