// What a model is made of: in a run's TOML, as options, in the metadata of weights.
#include <doctest/doctest.h>

#include "apps/inference/checkpoint.h"
#include "tensor/error.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;

namespace {

ModelSettings read(const std::string& toml) {
  ModelSettings model;
  load_config_text(toml, "m.toml", settings_of(model));
  return model;
}

}  // namespace

TEST_CASE("model settings: tables, dotted keys, lists; what differs from the variant, and back") {
  const ModelSettings model = read(R"(
variant = "tiny"
decoder.kind = "ema"
[encoder]
branches = [21, 9]
channels = [8, 16, 24, 32]
gate = "sum"
)");
  const ModelConfig c = model_config(model, 7);
  CHECK(c.encoder.branches == std::vector{21, 9});
  CHECK(c.encoder.channels == std::array{8, 16, 24, 32});
  CHECK(c.encoder.blocks == std::array{3, 3, 5, 2});  // tiny's own
  CHECK(c.encoder.gate == EncoderConfig::Gate::sum);
  CHECK(c.decoder.kind == DecoderConfig::Kind::ema);
  CHECK(c.decoder.ham.rank == 64);
  CHECK(c.num_classes == 7);
  const std::string text = difference_text(model);
  CHECK(text ==
        "encoder.channels = [8, 16, 24, 32]\nencoder.branches = [21, 9]\nencoder.gate = \"sum\"\n"
        "decoder.kind = \"ema\"\n");
  CHECK(difference_text(read("variant = \"tiny\"\n" + text)) == text);
  CHECK(difference_text(read("variant = \"large\"")).empty());
  CHECK(name_of(read("variant = \"large\"")) == "large");
  CHECK(
      name_of(model).starts_with("tiny with encoder.channels = [8, 16, 24, 32], encoder.branches"));
  // Every kind of decoder with its usual stages; an own one keeps them.
  for (const auto& [kind, stages] :
       std::map<std::string, std::vector<int>>{{"own", {2, 3, 4}},
                                               {"ham", {2, 3, 4}},
                                               {"cc", {2, 3, 4}},
                                               {"nonlocal", {2, 3, 4}},
                                               {"msca", {2, 3, 4}},
                                               {"mlp", {1, 2, 3, 4}},
                                               {"aspp", {4}},
                                               {"uper", {1, 2, 3, 4}}}) {
    CAPTURE(kind);
    CHECK(model_config(read("decoder.kind = \"" + kind + "\""), 3).decoder.stages == stages);
    CHECK(model_config(read("decoder.kind = \"" + kind + "\"\ndecoder.stages = [3, 4]"), 3)
              .decoder.stages == std::vector{3, 4});
  }
  // Every setting reaches the model.
  ModelConfig wanted = model_config("small", 3);
  wanted.encoder.channels = {8, 16, 24, 32};
  wanted.encoder.blocks = {1, 2, 3, 4};
  wanted.encoder.ratios = {2, 3, 4, 5};
  wanted.encoder.attention = EncoderConfig::Attention::lka;
  wanted.encoder.branches = {9};
  wanted.encoder.mixing = false;
  wanted.encoder.gate = EncoderConfig::Gate::none;
  wanted.decoder.kind = DecoderConfig::Kind::ham;
  wanted.decoder.stages = {1, 4};
  wanted.decoder.width = 96;
  wanted.decoder.ham = {.kind = DecompositionOptions::Kind::cd,
                        .gradient = DecompositionOptions::Gradient::one_step,
                        .rank = 5,
                        .train_steps = 3,
                        .eval_steps = 4};
  const ModelConfig all = model_config(read(R"(
variant = "small"
encoder.channels = [8, 16, 24, 32]
encoder.blocks = [1, 2, 3, 4]
encoder.ratios = [2, 3, 4, 5]
encoder.attention = "lka"
encoder.branches = [9]
encoder.mixing = false
encoder.gate = "none"
decoder.kind = "ham"
decoder.stages = [1, 4]
decoder.width = 96
decoder.factors = "cd"
decoder.gradient = "one_step"
decoder.rank = 5
decoder.steps = 3
decoder.eval-steps = 4
)"),
                                       3);
  CHECK(all.encoder == wanted.encoder);
  CHECK(all.decoder == wanted.decoder);
  const auto refused = [](const std::string& toml, const std::string& part) {
    CAPTURE(toml);
    try {
      const Segmenter built(model_config(read(toml), 3));
      FAIL_CHECK("not refused");
    } catch (const InputError& e) {
      CHECK_MESSAGE(std::string(e.what()).find(part) != std::string::npos, e.what());
    }
  };
  refused("encoder.branches = 7", "m.toml:1: encoder.branches: should be a list");
  refused("encoder.branches = [7, \"a\"]", "should be a list of whole numbers");
  refused("encoder.branches = [65]", "out of range");
  refused("[encoder]\nbranch = [7]", "m.toml:2: encoder.branch: unknown key; did you mean");
  refused("encoder.blocks = [1, 2]", "one for each of 4 stages");
  refused("decoder.stages = [4, 2]", "ascending");
  refused("decoder.width = 100", "multiple of 32");
  refused("decoder.kind = \"mlpp\"", "choose own, ham");
}

TEST_CASE("a model's settings go with its weights: eval, predict and resume need none") {
  const TemporaryFolder folder;
  make_little_data(folder);
  const std::string data = " --data folder --data-root data.toml ";
  const auto run =
      segnext(folder, "train" + data +
                          "--crop 32 --batch 2 --iterations 2 --auxiliary 0.4 --out run "
                          "--encoder.branches 7 --no-encoder.mixing "
                          "--decoder.kind nonlocal --decoder.stages 3,4");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto eval = segnext(folder, "eval --weights run/last.safetensors --split val" + data);
  INFO(eval.err);
  CHECK(eval.code == 0);
  CHECK(eval.out.find("nano with encoder.branches = [7]") != std::string::npos);
  CHECK(segnext(folder, "predict --weights run/last.safetensors --count 1 --output seen" + data)
            .code == 0);
  CHECK(segnext(folder, "train --resume run --iterations 3").code == 0);
  const auto other = segnext(folder, "train --resume run --iterations 4 --encoder.gate sum");
  CHECK(other.code == 2);
  CHECK(lines_of(other.err) == 1);
  // Their encoder is none of the full one's.
  const auto pretrained =
      segnext(folder, "train" + data + "--pretrained run/last.safetensors --out two");
  CHECK(pretrained.code == 2);
  CHECK(lines_of(pretrained.err) == 1);
  CHECK(pretrained.err.find("encoder.branches = [7]") != std::string::npos);
  // The same encoder under another decoder is welcome.
  CHECK(segnext(folder, "train" + data +
                            "--pretrained run/last.safetensors --reset-classifier --out three "
                            "--crop 32 --batch 2 --iterations 1 --encoder.branches 7 "
                            "--no-encoder.mixing --decoder.kind mlp")
            .code == 0);
  // An auxiliary head is no part of the encoder.
  const auto helped = segnext(
      folder, "train" + data +
                  "--pretrained run/last.safetensors --out four --crop 32 --batch 2 --iterations 1 "
                  "--auxiliary 0.4 --encoder.branches 7 --no-encoder.mixing "
                  "--decoder.kind nonlocal --decoder.stages 3,4");
  INFO(helped.err);
  CHECK(helped.code == 0);
  const std::size_t at = helped.out.find("encoder: ") + 9;
  const auto words = helped.out.substr(at, helped.out.find(" matched", at) - at);
  CHECK(words.substr(0, words.find(' ')) == words.substr(words.rfind(' ') + 1));  // all of them
  // Metadata from outside.
  auto file = read_weights(folder / "run/last.safetensors");
  file.metadata["model"] = "encoder.branches = [8]\n";
  write_safetensors(folder / "bad.safetensors", file.tensors, file.metadata);
  const auto bad = segnext(folder, "eval --weights bad.safetensors --split val" + data);
  CHECK(bad.code == 2);
  CHECK(lines_of(bad.err) == 1);
}
