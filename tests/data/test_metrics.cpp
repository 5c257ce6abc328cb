#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "data/metrics.h"
#include "tensor/error.h"

using namespace nextgrad;

namespace {

// Label:      0 0 0 1 1 255 0;  prediction: 0 0 1 1 2 0 0; class 3 is absent.
ConfusionMatrix counted() {
  ConfusionMatrix matrix(4);
  matrix.add(std::vector<std::int32_t>{0, 0, 0, 1, 1, 255, 0},
             std::vector<std::int32_t>{0, 0, 1, 1, 2, 0, 0});
  return matrix;
}

}  // namespace

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

TEST_CASE("merge, label maps and what is refused") {
  ConfusionMatrix matrix = counted(), other(4);
  other.add(LabelMap{1, 3, {3, 255, 0}}, std::vector<std::int32_t>{3, 2, 3});
  matrix.merge(other);
  CHECK(matrix.total() == 8);
  CHECK(matrix.count(0, 3) == 1);
  CHECK(matrix.scores().iou[3] == doctest::Approx(0.5));
  CHECK_THROWS_AS(matrix.merge(ConfusionMatrix(3)), Error);
  const std::vector<std::int32_t> one{0}, four{4}, minus{-1}, two{0, 0};
  CHECK_THROWS_AS(matrix.add(one, four), Error);
  CHECK_THROWS_AS(matrix.add(minus, one), Error);
  CHECK_THROWS_AS(matrix.add(one, two), Error);
  CHECK(matrix.total() == 8);
  matrix.reset();
  CHECK(matrix.total() == 0);
  CHECK(std::isnan(matrix.scores().mean_iou));
}

TEST_CASE("table: nothing counted, names that steer a terminal or are wide") {
  const std::string text =
      scores_table(ConfusionMatrix(3), {"a\x1b[31m\a\nb", "\xe5\xb1\xb1\xe5\xb7\x9d", "plain"});
  CHECK(text.find("-%") == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find('\a') == std::string::npos);
  CHECK(text.find("a\\x1b[31m\\x07\\nb ") != std::string::npos);
  CHECK(std::count(text.begin(), text.end(), '\n') == 5);
  // Two letters that take four columns of sixteen.
  CHECK(text.find("\n\xe5\xb1\xb1\xe5\xb7\x9d" + std::string(12 + 2, ' ') + "     -") !=
        std::string::npos);
}

TEST_CASE("table and JSON") {
  const std::vector<std::string> names{"sky", "road", "a long name", "none"};
  const std::string table = scores_table(counted(), names);
  CHECK(table.find("a long name    0.00       -    0.00%") != std::string::npos);
  CHECK(table.find("mIoU 36.11  mAcc 62.50  aAcc 66.67") != std::string::npos);
  const std::string nothing = scores_table(ConfusionMatrix(2), {"a", "\x1b[31m"});
  CHECK(nothing.find("-%") == std::string::npos);
  CHECK(nothing.find('\x1b') == std::string::npos);
  const nlohmann::json json = scores_json(counted(), names);
  CHECK(json["mIoU"].get<double>() == doctest::Approx(0.3611111));
  CHECK(json["classes"][3]["iou"].is_null());
  CHECK(json["classes"][0]["pixels"] == 4);
  CHECK(json["confusion"][1] == nlohmann::json{0, 1, 1, 0});
  CHECK_THROWS_AS(scores_json(counted(), {"a"}), Error);
}
