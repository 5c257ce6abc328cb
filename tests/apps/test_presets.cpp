// Recipes: their numbers, their groups of parameters, and what the commands make of them.
#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <map>

#include "apps/commands/commands.h"
#include "apps/settings/presets.h"
#include "models/segmenter.h"
#include "nn/optim.h"
#include "nn/schedule.h"
#include "tensor/error.h"
#include "tests/apps/program.h"
#include "tests/data/miniatures.h"

using namespace nextgrad;

TEST_CASE("presets: the published table") {
  struct Row {
    const char* data;
    std::int64_t crop, short_side, long_side, batch, iterations, window, stride, multiple;
  };
  const Row rows[] = {{"ade20k", 512, 512, 2048, 16, 160000, 0, 0, 32},
                      {"cityscapes", 1024, 1024, 2048, 8, 160000, 1024, 768, 1},
                      {"cocostuff", 512, 512, 2048, 16, 80000, 0, 0, 32},
                      {"vocaug", 512, 512, 2048, 16, 80000, 0, 0, 32},
                      {"context59", 480, 520, 2048, 16, 80000, 0, 0, 32},
                      {"context60", 480, 520, 2048, 16, 80000, 0, 0, 32},
                      {"isaid", 896, 896, 896, 16, 160000, 0, 0, 32}};
  for (const Row& row : rows)
    for (const char* variant : {"tiny", "small", "base", "large", "b0", "b4"}) {
      const TrainConfig c = preset_config(fmt::format("{}-{}", row.data, variant));
      CAPTURE(row.data);
      CHECK(c.data == row.data);
      CHECK(c.variant == variant);
      CHECK(c.crop == Size{row.crop, row.crop});
      CHECK(std::min(c.base_size.height, c.base_size.width) == row.short_side);
      CHECK(std::max(c.base_size.height, c.base_size.width) == row.long_side);
      CHECK(c.batch == row.batch);
      CHECK(c.iterations == row.iterations);
      CHECK(c.val_window == Size{row.window, row.window});
      CHECK(c.val_stride == Size{row.stride, row.stride});
      CHECK(c.val_multiple == row.multiple);
      CHECK(c.optimizer == "adamw");
      CHECK(c.lr == 6e-5);
      CHECK(c.weight_decay == 0.01);
      CHECK(c.warmup == 1500);
      CHECK(c.transform.photometric.enabled);
      CHECK(c.transform.scale_min == 0.5);
      CHECK(c.transform.scale_max == 2);
      CHECK(c.transform.cat_max_ratio == 0.75);
      CHECK(c.dropout == 0.1);
      CHECK(c.drop_path == -1);
    }
  CHECK_THROWS_WITH_AS(preset_config("ade20k-tinny"),
                       "unknown preset 'ade20k-tinny'; did you mean ade20k-tiny?", InputError);
  CHECK(preset_names().size() == 10 * preset_data().size());
  // SegFormer's largest sees larger crops, of ADE20K alone.
  CHECK(preset_config("ade20k-b5").crop == Size{640, 640});
  CHECK(preset_config("ade20k-b5").base_size == Size{640, 2048});
  CHECK(preset_config("cocostuff-b5").crop == Size{512, 512});
}

TEST_CASE("presets: the learning rate at the first, the last and the corner iterations") {
  const TrainConfig c = preset_config("cocostuff-base");
  const Schedule s{.kind = parse_schedule(c.schedule),
                   .base_lr = c.lr,
                   .iterations = c.iterations,
                   .power = c.power,
                   .warmup = c.warmup,
                   .warmup_ratio = c.warmup_ratio};
  CHECK(s.lr(0) == doctest::Approx(6e-11).epsilon(1e-9).scale(0));
  CHECK(s.lr(1499) ==
        doctest::Approx(6e-5 * (1 - 1499.0 / 80000) * (1 - (1 - 1499.0 / 1500) * (1 - 1e-6)))
            .epsilon(1e-12)
            .scale(0));
  CHECK(s.lr(1500) == doctest::Approx(6e-5 * (1 - 1500.0 / 80000)).epsilon(1e-12).scale(0));
  CHECK(s.lr(79999) == doctest::Approx(6e-5 / 80000).epsilon(1e-9).scale(0));
}

TEST_CASE("presets: groups of parameters by name") {
  const TrainConfig c = preset_config("ade20k-tiny");
  const Segmenter model(model_config(c.variant, 150));
  const AdamW optimizer(model.named_parameters(), {}, segmenter_rules(c.head_lr_multiplier));
  std::map<std::string, std::pair<double, double>> groups;
  for (const auto& slot : optimizer.slots()) {
    groups[slot.parameter.name] = {slot.lr_scale, slot.decay_scale};
    const bool head = slot.parameter.name.find("head") != std::string::npos;
    const bool norm = slot.parameter.name.find("norm") != std::string::npos;
    CAPTURE(slot.parameter.name);
    CHECK(slot.lr_scale == (head ? 10 : 1));
    CHECK(slot.decay_scale == (!head && norm ? 0 : 1));
  }
  using Group = std::pair<double, double>;
  CHECK(groups.at("backbone.block1.0.norm1.weight") == Group{1, 0});
  CHECK(groups.at("backbone.norm4.bias") == Group{1, 0});
  CHECK(groups.at("backbone.patch_embed2.norm.weight") == Group{1, 0});
  // A batch norm that is not called so, biases and layer scales decay.
  CHECK(groups.at("backbone.patch_embed1.proj.1.weight") == Group{1, 1});
  CHECK(groups.at("backbone.block1.0.layer_scale_1") == Group{1, 1});
  CHECK(groups.at("backbone.block1.0.attn.proj_1.bias") == Group{1, 1});
  CHECK(groups.at("decode_head.conv_seg.bias") == Group{10, 1});
}

TEST_CASE("presets: groups of SegFormer's parameters by name") {
  const TrainConfig c = preset_config("ade20k-b0");
  const Segmenter model(model_config(c.variant, 150));
  const AdamW optimizer(model.named_parameters(), {}, segmenter_rules(c.head_lr_multiplier));
  for (const auto& slot : optimizer.slots()) {
    const std::string& name = slot.parameter.name;
    CAPTURE(name);
    const bool head = name.starts_with("decode_head.");
    const bool norm = name.find("layernorm_") != std::string::npos ||
                      name.find("layer_norm.") != std::string::npos;
    CHECK(slot.lr_scale == (head ? 10 : 1));
    CHECK(slot.decay_scale == (norm ? 0 : 1));
  }
}

TEST_CASE("presets: shown as TOML that train takes; listed; refused by one line") {
  const TemporaryFolder folder;
  const auto shown = segnext(folder, "preset show isaid-small");
  CHECK(shown.code == 0);
  spill(folder / "recipe.toml", shown.out);
  TrainConfig again;
  load_config(folder / "recipe.toml", settings_of(again));
  CHECK(config_text(again) == shown.out);
  CHECK(config_text(again) == config_text(preset_config("isaid-small")));
  CHECK(segnext(folder, "preset list").out.find("cityscapes-large") != std::string::npos);
  const auto wrong = segnext(folder, "train --preset ade20k-huge");
  CHECK(wrong.code == 2);
  CHECK(lines_of(wrong.err) == 1);
  CHECK(segnext(folder, "train --preset ade20k-tiny --data nowhere").code == 2);
  CHECK(segnext(folder, "eval --weights x --window 64 --stride 65").code == 2);
}

TEST_CASE("presets: the test protocol, and what options change of it") {
  const auto protocol = [](const std::string& line) {
    CLI::App app;
    ProtocolOptions options;
    add_protocol(Command(&app), options);
    app.parse(line, false);
    return protocol_of(Command(&app), options, {});
  };
  const Protocol city = protocol("--preset cityscapes-tiny");
  CHECK(city.window == Size{1024, 1024});
  CHECK(city.stride == Size{768, 768});
  CHECK(city.transform.multiple == 1);
  CHECK(city.transform.base_short == 1024);
  const Protocol ade = protocol("--preset ade20k-large --multi-scale --batch 4");
  CHECK(ade.window == Size{0, 0});
  CHECK(ade.transform.multiple == 32);
  CHECK(ade.transform.base_long == 2048);
  CHECK(ade.scales == std::vector<double>{0.5, 0.75, 1, 1.25, 1.5, 1.75});
  CHECK(ade.flip);
  CHECK(ade.batch == 4);
  const Protocol own = protocol("--preset cityscapes-tiny --window 512 --scales 1,2");
  CHECK(own.window == Size{512, 512});
  CHECK(own.stride == Size{384, 384});
  CHECK_FALSE(own.flip);
  CHECK_THROWS_AS(protocol("--scales 1 --multi-scale"), InputError);
  CHECK_THROWS_AS(protocol("--stride 64"), InputError);
}

TEST_CASE("presets: every data set trains, validates, scores and submits on its miniature") {
  for (const auto& [data, about] : preset_data()) {
    CAPTURE(data);
    const TemporaryFolder folder;
    testing::make_miniature(data, folder / "set");
    // All of the recipe but its size; nano learns as tiny does.
    const auto run = segnext(
        folder, fmt::format("train --preset {}-tiny --data set --variant nano --crop 32 --batch 2 "
                            "--iterations 3 --workers 1 --base-size 64x48 --out run{}",
                            data, data == "cityscapes" ? " --val-window 48 --val-stride 32" : ""));
    INFO(run.err);
    REQUIRE(run.code == 0);
    CHECK(run.out.find("validation at 3: mIoU") != std::string::npos);
    TrainConfig kept;
    load_config(folder / "run/config.toml", settings_of(kept));
    CHECK(kept.data == data);
    CHECK(kept.lr == 6e-5);
    CHECK(kept.warmup == 1500);
    const auto scored = segnext(
        folder, fmt::format("eval --weights run/last.safetensors --preset {}-tiny --data set "
                            "--base-size 64x48 --window 40 --scales 0.75,1 --flip "
                            "--json scores.json",
                            data));
    INFO(scored.err);
    REQUIRE(scored.code == 0);
    // The same whatever goes through the network together and is read ahead.
    const auto again = segnext(
        folder, fmt::format("eval --weights run/last.safetensors --preset {}-tiny --data set "
                            "--base-size 64x48 --window 40 --scales 0.75,1 --flip "
                            "--json again.json --batch 3 --workers 1",
                            data));
    REQUIRE(again.code == 0);
    CHECK(again.out == scored.out);
    const auto submitted = segnext(
        folder, fmt::format("predict --weights run/last.safetensors --data {} --data-root set "
                            "--base-size 64x48 --submission --output upload",
                            data));
    INFO(submitted.err);
    REQUIRE(submitted.code == 0);
    DatasetConfig config;
    config.kind = data;
    config.root = folder / "set";
    const auto val = make_dataset(config, "val");
    for (std::int64_t i = 0; i < val->size(); ++i) {
      const Submission& s = val->submission();
      const LabelMap map = read_label(folder / ("upload/" + s.file_name(val->name(i))));
      CHECK(map.height == val->load_label(i).height);
      for (const std::uint8_t v : map.values) {
        bool known = false;
        for (int k = 0; k < val->num_classes(); ++k)
          known = known || s.values[static_cast<std::size_t>(k)] == v;
        REQUIRE(known);
      }
    }
  }
}

TEST_CASE("a split without labels is predicted, and not scored") {
  const TemporaryFolder folder;
  testing::make_miniature("cityscapes", folder / "set");
  REQUIRE(segnext(folder,
                  "train --preset cityscapes-tiny --data set --variant nano --crop 32 "
                  "--batch 2 --iterations 1 --base-size 64x48 --val-window 0 --val-stride 0 "
                  "--out run")
              .code == 0);
  const auto scored = segnext(folder,
                              "eval --weights run/last.safetensors --data cityscapes "
                              "--data-root set --split test");
  CHECK(scored.code == 2);
  CHECK(lines_of(scored.err) == 1);
  CHECK(scored.err.find("no published labels") != std::string::npos);
  CHECK(segnext(folder,
                "predict --weights run/last.safetensors --data cityscapes --data-root set "
                "--split test --submission --output upload")
            .code == 0);
  CHECK(segnext(folder,
                "predict --weights run/last.safetensors --data cityscapes --data-root set "
                "--split test --output seen")
            .code == 0);
  CHECK(segnext(folder, "predict --weights run/last.safetensors set --submission").code == 2);
}
