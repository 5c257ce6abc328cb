#include <doctest/doctest.h>

#include <algorithm>

#include "apps/report/tables.h"
#include "tensor/error.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

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

TEST_CASE("table of costs: the paper's figures where it has some") {
  CHECK(cost_table(model_config("tiny", 150), 512, 512).find("paper") != std::string::npos);
  CHECK(cost_table(model_config("nano", 150), 512, 512).find("paper") == std::string::npos);
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

TEST_CASE("JSON of a classifier's scores") {
  ClassScores scores(3);
  scores.add(Tensor::from(std::vector<float>{1, 3, 2, 1, 3, 2}, {2, 3}), {1, 0});
  const nlohmann::json json = scores_json(scores);
  CHECK(json["top1"] == 0.5);
  CHECK(json["top5"] == 1);
  CHECK(json["images"] == 2);
  CHECK(json["accuracy"] == nlohmann::json{0, 1, nullptr});
  CHECK(json["confusion"][0] == nlohmann::json{0, 1, 0});
  const nlohmann::json many = scores_json(ClassScores(101));
  CHECK(many["accuracy"].size() == 101);
  CHECK_FALSE(many.contains("confusion"));
  CHECK(many["top1"].is_null());
}
