// The report stands alone, and says what happened.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "apps/report/report.h"

using namespace nextgrad;

TEST_CASE("report: base64") {
  CHECK(data_uri("png", {}) == "data:image/png;base64,");
  CHECK(data_uri("png", {'M'}) == "data:image/png;base64,TQ==");
  CHECK(data_uri("png", {'M', 'a'}) == "data:image/png;base64,TWE=");
  CHECK(data_uri("jpeg", {'M', 'a', 'n', 255}) == "data:image/jpeg;base64,TWFu/w==");
}

TEST_CASE("report: thinning keeps the mean and the order") {
  Report::Curve curve;
  for (int i = 0; i < 1000; ++i) curve.emplace_back(i, 2 * i);
  const auto thin = thin_out(curve, 7);
  REQUIRE(thin.size() == 7);
  for (std::size_t i = 0; i < thin.size(); ++i) {
    CHECK(thin[i].second == doctest::Approx(2 * thin[i].first));
    if (i > 0) CHECK(thin[i].first > thin[i - 1].first);
  }
  CHECK(thin_out(curve, 5000).size() == 1000);
}

TEST_CASE("report: names that steer a terminal, and long ones that are cut") {
  Report r;
  r.classes = {"bell\a", std::string(15, 'x') + "\xc3\xa4\xc3\xb6"};
  r.confusion = {1, 0, 0, 1};
  const std::string html = render_report(r);
  CHECK(html.find('\a') == std::string::npos);
  CHECK(html.find("bell\\x07") != std::string::npos);
  CHECK(html.find(std::string(15, 'x') + "\xc3\xa4<") != std::string::npos);  // a whole letter
}

TEST_CASE("report: needs no other file, escapes names, survives absent classes") {
  Report r;
  r.title = "<a & b>";
  r.classes = {"sky", "<script>", "tree"};
  r.palette = {{1, 2, 3}, {4, 5, 6}, {255, 0, 16}};
  r.loss = {{1, 2.5}, {2, 1.5}};
  r.scores = {{"mIoU", {{2, 0.25}}}};
  r.bars_title = "IoU per class";
  r.bars = {{0, 0.5, " (acc 75.0)"}, {1, std::numeric_limits<double>::quiet_NaN(), ""}, {2, 1, ""}};
  r.examples = {{data_uri("jpeg", {4}), "sky & 3 %", true}, {data_uri("jpeg", {5}), "<b>", false}};
  r.confusion = {3, 1, 0, 0, 0, 0, 0, 0, 7};
  r.pictures = {{"x\"y", data_uri("jpeg", {1}), data_uri("png", {2}), data_uri("png", {3})}};
  const std::string html = render_report(r);
  CHECK(html.find("<script") == std::string::npos);
  CHECK(html.find("http") == std::string::npos);
  CHECK(html.find("url(") == std::string::npos);
  CHECK(html.find("nan") == std::string::npos);
  CHECK(html.find("absent") != std::string::npos);
  CHECK(html.find("&lt;a &amp; b&gt;") != std::string::npos);
  CHECK(html.find("50.0 % (acc 75.0)") != std::string::npos);
  CHECK(html.find("sky &amp; 3 %") < html.find("&lt;b&gt;"));
  CHECK(html.find("sky as &lt;script&gt;: 25.00 % (1 pixels)") != std::string::npos);
  for (auto at = html.find("src=\""); at != std::string::npos; at = html.find("src=\"", at + 1))
    CHECK(html.compare(at + 5, 11, "data:image/") == 0);
  CHECK_NOTHROW(render_report(Report{}));
}

TEST_CASE("report: a log of an older version, or edited, shows what it still says") {
  using nlohmann::json;
  const json validation{{"mIoU", 0.5},
                        {"mAcc", nullptr},
                        {"classes", {{{"iou", 0.25}}, {{"iou", "?"}}, {{"iou", 1}}, {{"iou", 1}}}},
                        {"confusion", {{1, 2, 3}, {4}, 5, json::object()}}};
  ModelInfo info;
  info.classes = {"a", "b"};
  info.palette = {{1, 2, 3}, {4, 5, 6}};
  const std::vector<json> log{
      {{"iteration", 5}},
      {{"iteration", "five"}, {"loss", 1}},
      {{"iteration", 1}, {"loss", 0.5}},
      {{"iteration", 1}, {"loss", {1}}, {"lr", true}},
      {{"iteration", 2}, {"skipped", "x"}},
      {{"iteration", 2}, {"validation", 3}},
      {{"iteration", 2}, {"validation", json::array()}},
      {{"iteration", 2}, {"validation", {{"classes", 3}, {"confusion", "x"}}}},
      {{"iteration", 3}, {"validation", validation}},
      {{"iteration", 3}, {"validation", {{"accuracy", {1, 2, 3, 4}}, {"confusion", {{1}}}}}},
      json::array({1}),
      nullptr};
  for (std::size_t n = 0; n <= log.size(); ++n) {
    const std::vector<json> some(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(n));
    const Report r = run_report(TrainConfig(), info, some, {}, 10, 0);
    CHECK((r.confusion.empty() || r.confusion.size() == 4));
    CHECK(r.bars.size() <= 2);
    CHECK_NOTHROW(render_report(r));
    CHECK_NOTHROW(render_report(run_report(PretrainConfig(), info, some, {}, 10, 0)));
  }
}
