// Studies: their files, their runs when they are killed and go on, and what they write.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/report/study_report.h"
#include "apps/settings/study.h"
#include "models/segmenter.h"
#include "tensor/error.h"
#include "tests/apps/little_data.h"
#include "tests/apps/program.h"

using namespace nextgrad;
using nlohmann::json;

namespace {

const std::string kLittle = R"(
title = "Little"
question = "Is <mixing> worth it?"
seeds = [0, 1]
time-size = 64
[recipe]
variant = "nano"
crop = 32
batch = 2
iterations = 30
checkpoint-every = 5
val-every = 0
val-size = 32
pictures = 1
threads = 1
[budget.short]
iterations = 4
seeds = [3]
[[variant]]
name = "full"
paper = { miou = 41.1, miou-ms = 42.2, parameters = 4.3, multiply-adds = 6.6, top-1 = 75.9 }
[[variant]]
name = "7x7"
encoder.branches = [7]
paper.miou = 39.6
budget.short.iterations = 5
)";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string with(const std::string& from, const std::string& to) {
  std::string text = kLittle;
  REQUIRE(has(text, from));
  return text.replace(text.find(from), from.size(), to);
}

void refused(const std::string& toml, const std::string& part, const std::string& budget = "") {
  CAPTURE(part);
  try {
    parse_study(toml, "my.toml", budget);
    FAIL("was taken");
  } catch (const InputError& e) {
    INFO(std::string(e.what()));
    CHECK(has(e.what(), part));
    CHECK(lines_of(e.what()) == 0);
  }
}

json results(const TemporaryFolder& folder, const std::string& out) {
  return json::parse(slurp(folder / (out + "/study.json")));
}

// mIoU, to the last bit, by variant and seed.
std::map<std::string, std::string> figures(const json& study) {
  std::map<std::string, std::string> all;
  for (const json& r : study.at("runs"))
    all[fmt::format("{} {}", r.at("variant").get<std::string>(), r.at("seed").get<int>())] =
        r.at("mIoU").dump() + " " + r.at("aAcc").dump();
  CHECK(all.size() == study.at("runs").size());
  return all;
}

void check_page(std::string html) {
  // Of the pictures only their beginnings: base64 may spell anything.
  for (auto at = html.find("base64,"); at != std::string::npos; at = html.find("base64,", at + 1))
    html.erase(at + 7, html.find('"', at) - at - 7);
  for (const char* bad : {"<script", "http", "url(", "nan", "inf\""}) CHECK_FALSE(has(html, bad));
  for (auto at = html.find("src=\""); at != std::string::npos; at = html.find("src=\"", at + 1))
    CHECK(html.compare(at + 5, 11, "data:image/") == 0);
  // Every element that is opened is closed, in order.
  std::vector<std::string> open;
  for (auto at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const auto end = html.find('>', at);
    REQUIRE(end != std::string::npos);
    const std::string tag = html.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find(' '));
    if (tag.back() == '/' || name == "!doctype" || name == "meta" || name == "img") continue;
    if (name[0] != '/') {
      open.push_back(name);
    } else {
      REQUIRE_FALSE(open.empty());
      CHECK("/" + open.back() == name);
      open.pop_back();
    }
  }
  CHECK(open.empty());
}

StudyRun result(const std::string& variant, std::int64_t seed, double miou) {
  return {.variant = variant,
          .seed = seed,
          .miou = miou,
          .mean_accuracy = 0.5,
          .all_accuracy = 0.75,
          .peak_bytes = 2e6,
          .milliseconds = 12,
          .parameters = 3e6,
          .multiply_adds = 4e9,
          .settings = ""};
}

}  // namespace

TEST_CASE("study: the variant wins over the budget, that over the recipe, that over the preset") {
  const std::string toml = R"(
[recipe]
preset = "ade20k-base"
lr = 0.5
power = 2
[budget.small]
power = 3
crop = 64
time-size = 96
[budget.none]
preset = "none"
[[variant]]
name = "a"
crop = 96
[[variant]]
name = "b"
budget.small.crop = 128
[[variant]]
name = "c"
crop = 96
budget.small.crop = 160
)";
  const Study whole = parse_study(toml, "some/where/my.toml");
  CHECK(whole.name == "my");
  CHECK(whole.seeds == std::vector<std::int64_t>{0});
  REQUIRE(whole.variants.size() == 3);
  const TrainConfig& a = whole.variants[0].config;
  CHECK(a.variant == "base");
  CHECK(a.data == "ade20k");
  CHECK(a.lr == 0.5);
  CHECK(a.power == 2);
  CHECK(a.crop == Size{96, 96});
  CHECK(whole.variants[1].config.crop == Size{512, 512});
  const Study small = parse_study(toml, "my.toml", "small");
  CHECK(small.time_size == Size{96, 96});
  CHECK(small.variants[0].config.crop == Size{96, 96});
  CHECK(small.variants[1].config.crop == Size{128, 128});
  CHECK(small.variants[2].config.crop == Size{160, 160});
  CHECK(small.variants[1].config.power == 3);
  CHECK(small.variants[1].config.warmup == 1500);
  const Study none = parse_study(toml, "my.toml", "none");
  CHECK(none.variants[0].config.warmup == TrainConfig().warmup);
  CHECK(none.variants[0].config.lr == 0.5);
}

TEST_CASE("study: a file that is none is refused by one line with its place") {
  refused(with("val-size", "val-sise"),
          "my.toml:13: val-sise: unknown key; did you mean val-size?");
  refused(with("encoder.branches", "encoder.branhces"), "did you mean encoder.branches?");
  refused(with("iterations = 4\n", "iteration = 4\n"), "did you mean iterations?");
  refused(with("budget.short.iterations", "budget.short.iteratons"), "did you mean iterations?");
  refused(with("[recipe]", "[recpie]"), "did you mean recipe?");
  refused(with("paper.miou", "paper.moiu"), "did you mean paper.miou?");
  refused(with("[7]", "[\"7\"]"), "should be a list of whole numbers");
  refused(with("crop = 32", "crop = 16"), "crop: 16 is out of range");
  refused(with("crop = 32", "seed = 3"), "seed: unknown key");
  refused(with("crop = 32", "preset = \"ade20k-tinny\""), "ade20k-tinny");
  refused(with("name = \"7x7\"", "name = \"full\""), "two variants have the name full");
  for (const char* name : {"../x", "a/b", ".a", "", "a b", "ä", "a\\nb"})
    refused(with("name = \"7x7\"", fmt::format("name = \"{}\"", name)), "a folder is called so");
  refused(with("name = \"7x7\"\n", ""), "a folder is called so");
  refused("title = \"x\"\n[recipe]\ncrop = 32\n", "has no [[variant]]");
  refused("", "has no [[variant]]");
  refused("[variant]\nname = \"a\"\n", "write [[variant]], once for each");
  refused("[variant.99999999999]\nname = \"a\"\n", "write [[variant]], once for each");
  refused(with("seeds = [0, 1]", "seeds = []"), "seeds is empty");
  refused(with("seeds = [0, 1]", "seeds = [1, 1]"), "a seed stands there twice");
  refused(with("seeds = [0, 1]", "seeds = [-1]"), "seeds: [-1] is too small");
  refused(with("time-size = 64", "time-size = \"64x32\""), "more than 32 pixels");
  refused(kLittle, "there is no [budget.long]; choose short", "long");
  refused(with("budget.short.iter", "budget.long.iter"), "there is no [budget.long]");
  refused("variant = 3", "my.toml:1: variant");
  refused("[[variant", "my.toml:1: not valid TOML");
  for (std::size_t size = 0; size < kLittle.size(); size += 3) {  // a file that was cut
    try {
      parse_study(kLittle.substr(0, size), "my.toml", "short");
    } catch (const InputError& e) {
      CHECK(lines_of(e.what()) == 0);
    }
  }
}

TEST_CASE("study: those that come along have the paper's figures, and their models can be built") {
  struct Row {
    const char *study, *variant;
    double parameters, multiply_adds, miou, multi_scale, top1 = 0;
  };
  const Row rows[] = {{"table5", "criss-cross", 27.8, 35.7, 47.3, 48.6},
                      {"table5", "ema", 27.4, 32.3, 48.0, 49.1},
                      {"table5", "non-local", 27.6, 40.9, 48.6, 50.0},
                      {"table5", "ham", 27.6, 34.9, 48.5, 49.9},
                      {"table6", "7x7", 0, 0, 39.6, 0, 74.7},
                      {"table6", "11x11", 0, 0, 39.7, 0, 75.2},
                      {"table6", "21x21", 0, 0, 40.0, 0, 75.3},
                      {"table6", "no-mixing", 0, 0, 39.1, 0, 74.8},
                      {"table6", "no-product", 0, 0, 40.5, 0, 75.5},
                      {"table6", "full", 0, 0, 41.1, 0, 75.9},
                      {"table7", "a-mlp", 4.4, 10.0, 40.3, 41.1},
                      {"table7", "b-stage4", 4.2, 4.9, 30.9, 40.6},
                      {"table7", "c", 4.3, 6.6, 41.1, 42.2},
                      {"table7", "c-stage1", 4.3, 12.1, 40.7, 42.2},
                      {"table8", "T-without", 4.2, 6.5, 39.5, 40.9},
                      {"table8", "T-with", 4.3, 6.6, 41.0, 42.5},
                      {"table8", "S-without", 13.8, 15.8, 43.5, 45.2},
                      {"table8", "S-with", 13.9, 15.9, 44.3, 45.8},
                      {"table9", "SegFormer-B0", 3.8, 8.4, 37.4, 38.0},
                      {"table9", "SegNeXt-T", 4.3, 6.6, 41.1, 42.2},
                      {"table9", "SegFormer-B1", 13.7, 15.9, 42.2, 43.1},
                      {"table9", "SegNeXt-S", 13.9, 15.9, 44.3, 45.8},
                      {"tableS2", "T-msca", 4.4, 6.7, 38.2, 38.6},
                      {"tableS2", "T-ham", 4.3, 6.6, 38.7, 39.1},
                      {"tableS2", "S-msca", 14.0, 15.9, 42.1, 42.4},
                      {"tableS2", "S-ham", 13.9, 15.9, 42.2, 42.8},
                      {"tableS2", "B-msca", 28.0, 33.6, 45.1, 45.5},
                      {"tableS2", "B-ham", 27.6, 34.9, 45.8, 46.3},
                      {"tableS2", "L-msca", 50.1, 69.8, 45.9, 46.4},
                      {"tableS2", "L-ham", 48.9, 70.0, 46.5, 47.2}};
  std::size_t seen = 0;
  for (const auto& [name, text] : shipped_studies())
    for (const char* budget : {"", "small"}) {
      CAPTURE(name);
      const Study study = read_study(name, budget);
      CHECK_FALSE(study.title.empty());
      CHECK_FALSE(study.question.empty());
      for (const StudyVariant& v : study.variants) {
        CAPTURE(v.name);
        const auto row = std::ranges::find_if(
            rows, [&](const Row& r) { return name == r.study && v.name == r.variant; });
        REQUIRE(row != std::end(rows));
        ++seen;
        CHECK(v.paper.parameters == row->parameters);
        CHECK(v.paper.multiply_adds == row->multiply_adds);
        CHECK(v.paper.miou == row->miou);
        CHECK(v.paper.miou_multi_scale == row->multi_scale);
        CHECK(v.paper.top1 == row->top1);
        CHECK(v.config.data == (*budget != 0        ? "scenes"
                                : name == "tableS2" ? "cocostuff"
                                                    : "ade20k"));
        const Segmenter model(model_config(v.config, 150));
        // What the paper counts, to its last digit and a little.
        if (*budget == 0 && row->parameters > 0)
          CHECK(model.parameter_count() / 1e6 == doctest::Approx(row->parameters).epsilon(0.02));
      }
    }
  CHECK(seen == 2 * std::size(rows));
}

TEST_CASE("study: means, spreads and the paper's orders") {
  const Study study = parse_study(
      "[[variant]]\nname = \"a\"\npaper.miou = 3\n[[variant]]\nname = \"b\"\npaper.miou = 2\n"
      "[[variant]]\nname = \"c\"\npaper.miou = 1\n[[variant]]\nname = \"d\"\n",
      "my.toml");
  const auto rows =
      study_rows(study, {result("a", 0, 0.5), result("a", 1, 0.7), result("b", 0, 0.4),
                         result("b", 1, 0.45), result("c", 0, 0.55)});
  CHECK(rows[0].miou == doctest::Approx(0.6));
  CHECK(rows[0].spread == doctest::Approx(std::sqrt(0.02)));
  CHECK(std::isnan(rows[2].spread));
  CHECK(std::isnan(rows[3].miou));
  const StudyOrders orders = study_orders(rows);
  using Pairs = StudyOrders::Pairs;
  CHECK(orders.agree == Pairs{{"a", "b"}});
  CHECK(orders.disagree == Pairs{{"a", "c"}, {"b", "c"}});  // by the seed that c has
  CHECK(orders.within.empty());
  const auto of_two = [&](double a0, double a1, double b0, double b1) {
    return study_orders(study_rows(
        study, {result("a", 0, a0), result("a", 1, a1), result("b", 0, b0), result("b", 1, b1)}));
  };
  CHECK(of_two(0.5, 0.7, 0.6, 0.7).within == Pairs{{"a", "b"}});
  CHECK(of_two(0.5, 0.7, 0.58, 0.6).within == Pairs{{"a", "b"}});
  // The seeds are far apart, and yet alike in what makes the difference.
  CHECK(of_two(0.5, 0.7, 0.48, 0.68).agree == Pairs{{"a", "b"}});
  CHECK(of_two(0.5, 0.7, 0.52, 0.72).disagree == Pairs{{"a", "b"}});
  const std::string text = study_markdown(study, rows);
  CHECK(has(text, "| a | 3 | - | 4 | - | 2 MB | 12.0 | 2 | 60.00 ± 14.14 | 75.00 | 3.0 | - |"));
  CHECK(has(text, "| c | 3 | - | 4 | - | 2 MB | 12.0 | 1 | 55.00 | 75.00 | 1.0 | - |"));
  CHECK(has(text, "| d | - | - | - | - | - | - | 0 | - | - | - | - |"));
  CHECK(has(text,
            "Of the paper's 3 orders of two variants 1 hold, 2 do not (a over c, b over c), 0"));
  const auto again = study_runs(study_json(study, {result("a", 7, std::nan(""))}));
  CHECK(again.at(0).seed == 7);
  CHECK(std::isnan(again.at(0).miou));
}

TEST_CASE("study: the page needs no other file, escapes names, survives what is not there") {
  Study study = parse_study(kLittle, "my.toml");
  study.title = "<a & b>";
  StudyShown shown;
  shown.curves = {{0, {{1, 0.5}, {2, 0.6}}, {{1, 2.5}, {2, 1.5}}}, {1, {}, {}}};
  shown.pictures = {{"x\"y",
                     data_uri("jpeg", {1}),
                     data_uri("png", {2}),
                     {{"full", data_uri("png", {3})}, {"7x7", data_uri("png", {4})}}}};
  shown.classes = {"sky", "<script>"};
  shown.palette = {{1, 2, 3}};
  const auto rows = study_rows(study, {result("full", 0, 0.5), result("full", 1, 0.6)});
  const std::string html = study_page(study, rows, shown);
  check_page(html);
  CHECK(has(html, "&lt;a &amp; b&gt;"));
  CHECK(has(html, "Is &lt;mixing&gt; worth it?"));
  CHECK(has(html, "55.00 ± 7.07"));
  CHECK(has(html, "full: 4, 55.00 %"));   // over multiply-adds
  CHECK(has(html, "full: 12, 55.00 %"));  // over time
  CHECK(has(html, "repeat(4,1fr)"));
  check_page(study_page(study, study_rows(study, {}), {}));
}

TEST_CASE("study: killed and stopped, it goes on, repeats nothing, and finds the same") {
  const TemporaryFolder folder;
  spill(folder / "little.toml", kLittle);
  const auto calm = segnext(folder, "study little.toml --out calm");
  INFO(calm.err);
  REQUIRE(calm.code == 0);
  CHECK(has(calm.out, "run 4 of 4: 7x7, seed 1"));
  CHECK(has(calm.out, "run 1 of 4, all left "));
  {
    const Background first(folder, "study little.toml --out cut");
    REQUIRE(eventually([&] { return lines_of(slurp(folder / "cut/7x7-seed0/log.jsonl")) >= 7; }));
    first.send(SIGKILL);
    CHECK(first.wait() == 1000 + SIGKILL);
  }
  REQUIRE(figures(results(folder, "cut")).size() >= 1);
  const std::string before = slurp(folder / "cut/full-seed0/log.jsonl");
  {
    const Background second(folder, "study little.toml --out cut");
    REQUIRE(eventually([&] { return lines_of(slurp(folder / "cut/full-seed1/log.jsonl")) >= 3; }));
    second.send(SIGINT);
    CHECK(second.wait() == 0);
    CHECK(
        has(slurp(folder / "background.txt"), "of 4 runs are complete; the same command goes on"));
    CHECK_FALSE(has(slurp(folder / "background.txt"), "run 1 of 4: full"));
  }
  {
    const Background third(folder, "study little.toml --out cut");
    REQUIRE(eventually([&] { return lines_of(slurp(folder / "cut/7x7-seed1/log.jsonl")) >= 3; }));
    third.send(SIGTERM);
    CHECK(third.wait() == 75);
    CHECK(has(slurp(folder / "background.txt"), "3 of 4 runs are complete"));
  }
  const auto rest = segnext(folder, "study little.toml --out cut");
  INFO(rest.err);
  REQUIRE(rest.code == 0);
  CHECK(figures(results(folder, "cut")) == figures(results(folder, "calm")));
  CHECK(slurp(folder / "cut/full-seed0/log.jsonl") == before);
  const json first = results(folder, "cut").at("runs").at(0);
  CHECK(first.at("parameters") == Segmenter(model_config("nano", 10)).parameter_count());
  CHECK(first.at("milliseconds") > 0);
  std::vector<std::string> log(1);
  for (const char c : before) c == '\n' ? void(log.emplace_back()) : log.back().push_back(c);
  REQUIRE(log.size() == 30 + 2);  // the validation, and what follows its line
  CHECK(first.at("peak_bytes") == json::parse(log[29]).at("peak_bytes"));
  for (const char* run : {"full-seed0", "full-seed1", "7x7-seed0", "7x7-seed1"})
    CHECK(slurp(folder / (std::string("cut/") + run + "/last.safetensors")) ==
          slurp(folder / (std::string("calm/") + run + "/last.safetensors")));
  const std::string html = slurp(folder / "cut/study.html");
  check_page(html);
  CHECK(has(html, "Where the variants disagree most"));
  // What is kept for that is spread over the split.
  std::int64_t kept = 0, last = 0;
  for (const auto& file : fs::directory_iterator(folder / "cut/predictions/full")) {
    ++kept;
    last = std::max<std::int64_t>(last, std::stoi(file.path().stem()));
  }
  CHECK(kept == 32);
  CHECK(last == 31 * open_split(TrainConfig(), "val")->size() / 32);
  CHECK(has(slurp(folder / "cut/study.md"), "| 7x7 |"));
  // Nothing left to do; the tables again; results that are lost are not trained again.
  const auto done = segnext(folder, "study little.toml --out cut");
  CHECK(done.code == 0);
  CHECK_FALSE(has(done.out, "run 1"));
  fs::remove(folder / "cut/study.md");
  CHECK(segnext(folder, "study little.toml --out cut --report").code == 0);
  CHECK(has(slurp(folder / "cut/study.md"), "| 7x7 |"));
  fs::remove(folder / "cut/study.json");
  const auto measured = segnext(folder, "study little.toml --out cut");
  CHECK(measured.code == 0);
  CHECK_FALSE(has(measured.out, "images/s"));
  CHECK(figures(results(folder, "cut")) == figures(results(folder, "calm")));
  CHECK(slurp(folder / "cut/full-seed0/log.jsonl") == before);
}

TEST_CASE("study: what it is told on the command line, and what it refuses there") {
  const TemporaryFolder folder;
  spill(folder / "little.toml", kLittle);
  const auto refuses = [&](const std::string& arguments, const std::string& part) {
    const auto o = segnext(folder, "study " + arguments);
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(lines_of(o.err) == 1);
    CHECK(has(o.err, part));
  };
  refuses("", "name a study's file");
  refuses("tabel6", "did you mean table6?");
  refuses("little.toml --budget long", "choose short");
  refuses("little.toml --only ful", "did you mean full?");
  refuses("little.toml --seeds 1,x", "--seeds");
  refuses("little.toml --seeds []", "--seeds");
  refuses("little.toml --report", "no results there yet");
  refuses("little.toml --threads 9999", "--threads");
  spill(folder / "none.toml", with("branches = [7]", "branches = [8]"));
  refuses("none.toml", "variant 7x7: encoder.branches");
  spill(folder / "none.toml", with("branches = [7]", "branches = [7]\npretrained = \"no.pth\""));
  refuses("none.toml", "variant 7x7: ");
  CHECK_FALSE(fs::exists(folder / "none"));
  const auto plan = segnext(folder, "study little.toml --dry-run --budget short");
  CHECK(plan.code == 0);
  CHECK(has(plan.out, "2 runs: 2 variants, seeds 3"));
  CHECK_FALSE(fs::exists(folder / "little-short"));
  // One variant, one seed.
  REQUIRE(segnext(folder, "study little.toml --budget short --only 7x7 --seeds 5").code == 0);
  CHECK(fs::exists(folder / "little-short/7x7-seed5/report.html"));
  CHECK_FALSE(fs::exists(folder / "little-short/full-seed5"));
  CHECK(figures(results(folder, "little-short")).size() == 1);
  // Where it runs may change, what it trains may not.
  const std::string same = " --budget short --seeds 5 --only 7x7";
  CHECK(segnext(folder, "study little.toml --workers 0" + same).code == 0);
  spill(folder / "other.toml", with("batch = 2", "batch = 3"));
  refuses("other.toml --out little-short" + same, "batch is 2 there and 3 in other");
  spill(folder / "other.toml", with("short.iterations = 5", "short.iterations = 6"));
  refuses("other.toml --out little-short" + same, "iterations is 5 there and 6 in other");
  spill(folder / "other.toml", with("time-size = 64", "time-size = 96"));
  refuses("other.toml --out little-short" + same, "time-size is 64 there and 96");
  spill(folder / "other.toml", with("batch = 2", "batch = 3"));
  fs::remove(folder / "little-short/study.json");
  refuses("other.toml --out little-short" + same, "7x7-seed5: batch is 2 there and 3 in other");
  for (const char* text : {"", "{", "[]", "{\"time_size\": \"64\", \"runs\": [{}]}"}) {
    spill(folder / "little-short/study.json", text);
    refuses("little.toml" + same, "study.json: is not what a study wrote");
  }
  const auto list = segnext(folder, "study list");
  CHECK(has(list.out, "tableS2"));
  const auto show = segnext(folder, "study show table6");
  CHECK(show.out == study_text("table6"));
}

TEST_CASE("study: its memory is the training's; what is not labelled is no disagreement") {
  const TemporaryFolder folder;
  make_little_data(folder);
  // Half of a picture is not labelled.
  LabelMap label = read_label(folder / "labels/val/0.png");
  std::fill(label.values.begin(), label.values.begin() + 40 * 24, kIgnoreLabel);
  write_png(folder / "labels/val/0.png", label);
  spill(folder / "data-study.toml", R"(
time-size = 64
[recipe]
data = "folder"
data-root = "data.toml"
variant = "nano"
crop = 32
batch = 2
iterations = 4
val-every = 2
val-size = 160
threads = 1
[[variant]]
name = "slow"
[[variant]]
name = "fast"
lr = 0.02
warmup = 0
)");
  const auto run = segnext(folder, "study data-study.toml --out out");
  INFO(run.err);
  REQUIRE(run.code == 0);
  std::vector<double> peaks;  // as the log tells them, iteration by iteration
  std::istringstream log(slurp(folder / "out/slow-seed0/log.jsonl"));
  for (std::string line; std::getline(log, line);)
    if (const json record = json::parse(line); record.contains("loss"))
      peaks.push_back(record.at("peak_bytes"));
  REQUIRE(peaks.size() == 4);
  REQUIRE(peaks[2] > peaks[1]);  // a validation came between
  CHECK(results(folder, "out").at("runs").at(0).at("peak_bytes") == peaks[1]);

  const LabelMap slow = read_label(folder / "out/predictions/slow/0.png"),
                 fast = read_label(folder / "out/predictions/fast/0.png");
  double labelled = 0, differ = 0, all = 0;
  for (std::size_t p = 0; p < label.values.size(); ++p) {
    const bool other = slow.values[p] != fast.values[p];
    all += other;
    if (label.values[p] == kIgnoreLabel) continue;
    ++labelled;
    differ += other;
  }
  const auto percent = [](double share) { return fmt::format("0: {:.0f} %", 100 * share); };
  const std::string shown = percent(differ / labelled);
  REQUIRE(shown != percent(all / static_cast<double>(label.values.size())));
  CHECK_MESSAGE(has(slurp(folder / "out/study.html"), shown), shown);
}
