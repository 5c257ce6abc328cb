#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "data/datasets/scenes/scenes.h"
#include "data/scores/metrics.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

TEST_CASE("scenes are a pure function of seed, split and number") {
  const Scenes train("train", 5, 64, 0), again("train", 9, 64, 0), val("val", 5, 64, 0),
      other("train", 5, 64, 1);
  std::set<std::vector<std::uint8_t>> pictures;
  for (std::int64_t i = 0; i < 5; ++i) {
    const Sample sample = train.load(i);
    CHECK(sample.image.pixels == again.load(i).image.pixels);
    CHECK(sample.label.values == again.load(i).label.values);
    for (const Dataset* data :
         {static_cast<const Dataset*>(&train), static_cast<const Dataset*>(&val),
          static_cast<const Dataset*>(&other)})
      pictures.insert(data->load(i).image.pixels);
  }
  CHECK(pictures.size() == 15);
  CHECK(train.name(3) == "train_00003");
  CHECK(train.num_classes() == 10);
  CHECK(train.palette().size() == 10);
  CHECK_THROWS_AS(train.load(5), Error);
  CHECK_THROWS_AS(Scenes("dev", 5, 64, 0), InputError);
  CHECK_THROWS_AS(Scenes("train", 0, 64, 0), InputError);
  CHECK_THROWS_AS(Scenes("train", 5, 8, 0), InputError);
}

TEST_CASE("scenes of any size hold every class often enough") {
  for (const auto& [h, w] : {std::pair{16, 16}, {33, 100}, {150, 70}}) {
    const Sample sample = draw_scene(3, 1, h, w);
    CHECK(sample.image.pixels.size() == static_cast<std::size_t>(h * w * 3));
    CHECK(sample.label.values.size() == static_cast<std::size_t>(h * w));
  }
  constexpr int kScenes = 100;
  std::vector<std::int64_t> pixels(10), scenes(10);
  for (std::int64_t i = 0; i < kScenes; ++i) {
    std::vector<std::int64_t> here(10);
    for (const std::uint8_t v : draw_scene(1, i, 96, 96).label.values) {
      REQUIRE(v < 10);
      ++here[v];
    }
    for (std::size_t k = 0; k < 10; ++k) pixels[k] += here[k], scenes[k] += here[k] > 0;
  }
  for (std::size_t k = 0; k < 10; ++k) {
    CAPTURE(scene_classes()[k]);
    CHECK(scenes[k] >= kScenes / 2);
    CHECK(pixels[k] >= 96 * 96 * kScenes / 150);
    CHECK(pixels[k] <= 96 * 96 * kScenes / 2);
  }
}

TEST_CASE("colour alone does not tell the class") {
  // The most favourable table there is of colours (of 4 bits a channel) to classes, learnt and
  // tested on the same scenes, and the class of the nearest mean colour.
  constexpr int kScenes = 60;
  std::vector<std::array<std::int64_t, 10>> table(4096);
  std::array<std::array<double, 3>, 10> mean{};
  std::array<double, 10> count{};
  std::vector<Sample> scenes;
  for (std::int64_t i = 0; i < kScenes; ++i) scenes.push_back(draw_scene(2, i, 96, 96));
  const auto cell = [](const std::uint8_t* p) {
    return static_cast<std::size_t>((p[0] >> 4) << 8 | (p[1] >> 4) << 4 | p[2] >> 4);
  };
  for (const Sample& s : scenes)
    for (std::size_t i = 0; i < s.label.values.size(); ++i) {
      const std::size_t k = s.label.values[i];
      ++table[cell(s.image.pixels.data() + 3 * i)][k];
      for (std::size_t c = 0; c < 3; ++c) mean[k][c] += s.image.pixels[3 * i + c];
      ++count[k];
    }
  ConfusionMatrix by_table(10), by_mean(10);
  for (const Sample& s : scenes) {
    LabelMap a, b;
    for (std::size_t i = 0; i < s.label.values.size(); ++i) {
      const auto* p = s.image.pixels.data() + 3 * i;
      const auto& votes = table[cell(p)];
      a.values.push_back(
          static_cast<std::uint8_t>(std::max_element(votes.begin(), votes.end()) - votes.begin()));
      double best = std::numeric_limits<double>::max();
      std::uint8_t nearest = 0;
      for (std::size_t k = 0; k < 10; ++k) {
        double d = 0;
        for (std::size_t c = 0; c < 3; ++c)
          d += (p[c] - mean[k][c] / count[k]) * (p[c] - mean[k][c] / count[k]);
        if (d < best) best = d, nearest = static_cast<std::uint8_t>(k);
      }
      b.values.push_back(nearest);
    }
    by_table.add(s.label, a);
    by_mean.add(s.label, b);
  }
  MESSAGE("mIoU of the best table of colours ", by_table.scores().mean_iou,
          ", of the nearest mean colour ", by_mean.scores().mean_iou);
  CHECK(by_table.scores().mean_iou < 0.35);
  CHECK(by_mean.scores().mean_iou < 0.2);
}
