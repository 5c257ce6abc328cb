#include <doctest/doctest.h>

#include <cmath>

#include "data/scores/metrics.h"
#include "tensor/error.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

TEST_CASE("scores against hand-counted ones") {
  const ConfusionMatrix matrix = counted();
  CHECK(matrix.total() == 6);
  CHECK(matrix.count(0, 0) == 3);
  CHECK(matrix.count(0, 1) == 1);
  CHECK(matrix.count(1, 2) == 1);
  CHECK(matrix.count(2, 1) == 0);
  const Scores s = matrix.scores();
  CHECK(s.iou[0] == doctest::Approx(3.0 / 4));
  CHECK(s.iou[1] == doctest::Approx(1.0 / 3));
  CHECK(s.iou[2] == 0);         // predicted but nowhere labelled: counts as 0
  CHECK(std::isnan(s.iou[3]));  // nowhere at all: does not count
  CHECK(s.accuracy[1] == doctest::Approx(0.5));
  CHECK(std::isnan(s.accuracy[2]));
  CHECK(s.mean_iou == doctest::Approx((3.0 / 4 + 1.0 / 3) / 3));
  CHECK(s.mean_accuracy == doctest::Approx((0.75 + 0.5) / 2));
  CHECK(s.all_accuracy == doctest::Approx(4.0 / 6));
}

TEST_CASE("label maps and what is refused") {
  ConfusionMatrix matrix = counted();
  matrix.add(LabelMap{1, 3, {3, 255, 0}}, LabelMap{1, 3, {3, 2, 3}});
  CHECK(matrix.total() == 8);
  CHECK(matrix.count(0, 3) == 1);
  CHECK(matrix.scores().iou[3] == doctest::Approx(0.5));
  const std::vector<std::int32_t> one{0}, four{4}, minus{-1}, two{0, 0};
  CHECK_THROWS_AS(matrix.add(one, four), Error);
  CHECK_THROWS_AS(matrix.add(minus, one), Error);
  CHECK_THROWS_AS(matrix.add(one, two), Error);
  CHECK(matrix.total() == 8);
  CHECK(std::isnan(ConfusionMatrix(4).scores().mean_iou));
}
