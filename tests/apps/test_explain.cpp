// Where a model looks: each map against its definition, and the page.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/inference/explain.h"
#include "data/datasets/scenes/scenes.h"
#include "data/images/image.h"
#include "nn/observer.h"
#include "tests/apps/program.h"

using namespace nextgrad;

namespace {

constexpr std::int64_t kSide = 96;
constexpr int kStage = 3, kClasses = 12;  // so many that some are predicted nowhere

ModelConfig little_model() {
  return model_config("nano", kClasses);
}

// Of random weights, large enough for classes to differ.
struct Looked {
  explicit Looked(const ModelConfig& config = little_model()) : model(config), exact(config) {
    for (Segmenter* m : {&model, &exact}) {
      init_parameters(*m, 5);
      m->eval();
    }
    exact.to(DType::f64);
    const Rectangle all[] = {{0, 0, kSide, kSide}};
    input = EvalTransform().normalized(picture, all);
    const NoGrad guard;
    stages = model.encoder().features(Variable(input));
    logits = values(model.decoder().logits(stages));
  }
  static std::vector<float> values(const Variable& v) {
    return v.value().contiguous().to_vector<float>();
  }
  int predicted(std::size_t pixel) const {
    const float* scores = logits.data() + kClasses * pixel;
    return static_cast<int>(std::max_element(scores, scores + kClasses) - scores);
  }
  bool predicts(int label) const {
    for (std::size_t p = 0; p < logits.size() / kClasses; ++p)
      if (predicted(p) == label) return true;
    return false;
  }
  // The sum of a class's logits where it is predicted (everywhere if nowhere), when a channel of
  // the stage is larger everywhere; in f64.
  double score(int label, std::size_t channel, double nudge) const {
    const NoGrad guard;
    std::vector<Variable> moved;
    for (const Variable& stage : stages) moved.emplace_back(stage.value().to(DType::f64));
    Variable& stage = moved[kStage - 1];
    std::vector<double> v = stage.value().contiguous().to_vector<double>();
    const auto channels = static_cast<std::size_t>(stage.dim(3));
    for (std::size_t i = channel; i < v.size(); i += channels) v[i] += nudge;
    stage = Variable(Tensor::from(v, stage.shape()));
    const auto scores = exact.decoder().logits(moved).value().contiguous().to_vector<double>();
    double sum = 0;
    for (std::size_t p = 0; p < scores.size() / kClasses; ++p)
      if (!predicts(label) || predicted(p) == label)
        sum += scores[kClasses * p + static_cast<std::size_t>(label)];
    return sum;
  }

  Segmenter model, exact;
  Image picture = Scenes("val", 1, kSide, 3).load(0).image;
  Tensor input;
  std::vector<Variable> stages;
  std::vector<float> logits;
};

double largest(const std::vector<float>& v) {
  return *std::ranges::max_element(v);
}

}  // namespace

TEST_CASE("explain: Grad-CAM is its formula, the gradients by differences") {
  Looked l;
  ExplainOptions options;
  for (int label = 0; label < kClasses; ++label)
    if (std::ranges::count(options.classes, l.predicts(label),
                           [&](int c) { return l.predicts(c); }) < 2)
      options.classes.push_back(label);
  REQUIRE(options.classes.size() == 4);  // two that are predicted, two that are not
  options.stage = kStage;
  const Explanation e = explain(l.model, l.picture, {}, options);
  REQUIRE(e.cams.size() == 4);
  const Variable& stage = l.stages[kStage - 1];
  const auto channels = static_cast<std::size_t>(stage.dim(3));
  const std::vector<float> a = Looked::values(stage);
  const std::size_t pixels = a.size() / channels;
  std::size_t below = 0, above = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const int label = options.classes[i];
    CAPTURE(label);
    std::vector<double> map(pixels);
    for (std::size_t c = 0; c < channels; ++c) {
      constexpr double kNudge = 1e-4;
      const double weight = (l.score(label, c, kNudge) - l.score(label, c, -kNudge)) /
                            (2 * kNudge * static_cast<double>(pixels));
      for (std::size_t p = 0; p < pixels; ++p) map[p] += weight * a[p * channels + c];
    }
    const auto& cam = e.cams[i];
    CHECK(cam.label == label);
    CHECK(cam.predicted == l.predicts(label));
    CHECK(cam.map.height == kSide / 16);
    double most = 0;
    for (const double v : map) most = std::max(most, std::abs(v));
    for (std::size_t p = 0; p < pixels; ++p) {
      (map[p] < 0 ? below : above) += 1;
      CHECK(std::abs(cam.map.values[p] - std::max(0.0, map[p])) <= 1e-3 * most);
    }
  }
  REQUIRE(below > 0);  // so that all that could go wrong is there
  REQUIRE(above > 0);
}

TEST_CASE("explain: attention is the root of its mean square, bases are told by their shares") {
  Looked l;
  const Explanation e = explain(l.model, l.picture, {}, {});
  std::vector<Tensor> seen(4);
  {
    const NoGrad guard;
    std::size_t stage = 0;
    const Observer observer([&](const Module&, std::string_view what, const Variable& v) {
      if (what == "attention") seen[stage] = v.value();
    });
    for (; stage < 4; ++stage)
      l.model.encoder().stage(stage, stage == 0 ? Variable(l.input) : l.stages[stage - 1]);
  }
  REQUIRE(e.attention.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    const std::vector<float> v = seen[i].contiguous().to_vector<float>();
    const auto channels = static_cast<std::size_t>(seen[i].dim(3));
    CHECK(e.attention[i].height == kSide >> (i + 2));
    REQUIRE(e.attention[i].values.size() * channels == v.size());
    for (std::size_t p = 0; p < e.attention[i].values.size(); p += 7) {
      double squares = 0;
      for (std::size_t c = 0; c < channels; ++c) squares += std::pow(v[p * channels + c], 2);
      CHECK(e.attention[i].values[p] ==
            doctest::Approx(std::sqrt(squares / static_cast<double>(channels))).epsilon(1e-4));
    }
  }

  CHECK(e.bases_in_all == 8);
  double all = 0, shares = 0;
  std::vector<double> sums;
  for (const auto& basis : e.bases) {
    CHECK(basis.coefficients.width == kSide / 8);
    sums.push_back(0);
    for (const float v : basis.coefficients.values) sums.back() += v;
    all += sums.back();
    shares += basis.share;
  }
  CHECK(shares == doctest::Approx(1));
  CHECK(std::ranges::is_sorted(sums, std::greater{}));
  for (std::size_t i = 0; i < sums.size(); ++i)
    CHECK(e.bases[i].share == doctest::Approx(sums[i] / all).epsilon(1e-3));
  // Those classes are shown that fill the most of the picture.
  std::vector<std::int64_t> counts(kClasses);
  for (std::size_t p = 0; p < l.logits.size() / kClasses; ++p)
    ++counts[static_cast<std::size_t>(l.predicted(p))];
  for (std::size_t i = 0; i < e.cams.size(); ++i) {
    CHECK(counts[static_cast<std::size_t>(e.cams[i].label)] > 0);
    if (i > 0)
      CHECK(counts[static_cast<std::size_t>(e.cams[i - 1].label)] >=
            counts[static_cast<std::size_t>(e.cams[i].label)]);
  }
}

TEST_CASE("explain: what one pixel sees is a gradient, and half of it lies within its radius") {
  Looked l;
  ExplainOptions options;
  options.x = 0.25;
  options.y = 0.99;
  const auto field = explain(l.model, l.picture, {}, options).field;
  CHECK(field.x == 24);
  CHECK(field.y == 95);
  CHECK(field.label == l.predicted(11 * 12 + 3));
  CHECK(field.gradient.height == kSide);
  for (const Parameter& p : l.model.named_parameters()) CHECK_FALSE(p.value.grad().defined());

  // Shares of the gradient within a distance, and short of it.
  const auto share = [&](double radius, bool closed) {
    double in = 0, all = 0;
    for (std::int64_t y = 0; y < kSide; ++y)
      for (std::int64_t x = 0; x < kSide; ++x) {
        const double v = field.gradient.values[static_cast<std::size_t>(y * kSide + x)];
        const double distance = std::hypot(x - field.x, y - field.y);
        all += v;
        if (distance < radius || (closed && distance == radius)) in += v;
      }
    return in / all;
  };
  CHECK(share(field.half, true) >= 0.5);
  CHECK(share(field.half, false) < 0.5);
  CHECK(share(field.most, true) >= 0.95);
  CHECK(share(field.most, false) < 0.95);

  // What the logit changes by when one number of the picture does, of the pixel that counts most.
  const auto peak = static_cast<std::size_t>(std::ranges::max_element(field.gradient.values) -
                                             field.gradient.values.begin());
  const auto slope = [&](std::size_t colour) {
    const auto logit = [&](double nudge) {
      const NoGrad guard;
      std::vector<float> v = l.input.to_vector<float>();
      v[3 * peak + colour] += static_cast<float>(nudge);
      const Variable picture(Tensor::from(v, l.input.shape()));
      return Looked::values(
          l.model(picture))[static_cast<std::size_t>((11 * 12 + 3) * kClasses + field.label)];
    };
    return std::abs(logit(0.05) - logit(-0.05)) / 0.1;
  };
  CHECK(slope(0) + slope(1) + slope(2) ==
        doctest::Approx(largest(field.gradient.values)).epsilon(0.05));
}

TEST_CASE("explain: without the product no attention, of another decoder no bases") {
  ModelConfig config = little_model();
  config.encoder.gate = EncoderConfig::Gate::none;
  config.decoder.kind = DecoderConfig::Kind::mlp;
  config.decoder.stages = {1, 2, 3, 4};
  Looked other(config);
  const Explanation without = explain(other.model, other.picture, {}, {});
  CHECK(without.attention.empty());
  CHECK(without.bases.empty());
  CHECK_FALSE(without.cams.empty());
  ExplainOptions options;
  options.classes = {kClasses};
  CHECK_THROWS_AS(explain(other.model, other.picture, {}, options), InputError);
  options = {};
  options.stage = 1;
  CHECK_NOTHROW(explain(other.model, other.picture, {}, options));
  Looked l;
  CHECK_THROWS_AS(explain(l.model, l.picture, {}, options), InputError);  // no gradient reaches it
}

TEST_CASE("predict --explain: one page that is whole; what it cannot show is said in one line") {
  Looked l;
  const TemporaryFolder folder;
  ModelInfo info;
  info.model.variant = "nano";
  info.classes = {"<a>", "b"};
  for (int i = 0; i < kClasses; ++i) info.palette.push_back({10, 20, 30});
  for (int i = 2; i < kClasses; ++i) info.classes.push_back(fmt::format("class {}", i));
  save_weights(folder / "w.safetensors", l.model, info);
  write_png(folder / "p.png", l.picture);
  write_png(folder / "p2.png", l.picture);
  const auto run = segnext(folder,
                           "predict --weights w.safetensors p.png --explain --output out "
                           "--explain-class b --explain-class 2 --pixel 0.1,0.9");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const std::string page = slurp(folder / "out/p.html");
  for (const char* wanted : {"Attention of each stage", "The decoder's bases", "Grad-CAM",
                             "What one pixel sees", "pixel 9,86", "&lt;a&gt;", "</html>"})
    CHECK_MESSAGE(page.find(wanted) != std::string::npos, wanted);
  CHECK(page.find("http") == std::string::npos);
  // A decoder that does not read stage 4, the default, is none of its business otherwise.
  ModelConfig early = little_model();
  early.decoder.stages = {2, 3};
  Looked other(early);
  info.model.stages = {2, 3};
  save_weights(folder / "early.safetensors", other.model, info);
  const std::string predict = "predict --weights early.safetensors p.png --output early ";
  CHECK(segnext(folder, predict).code == 0);
  CHECK(segnext(folder, predict + "--explain").code == 2);
  CHECK(segnext(folder, predict + "--explain --explain-stage 3").code == 0);
  for (const char* wrong : {"--explain-class bb", "--explain-stage 1", "--pixel 0.1", "--flip",
                            "--window 64", "--overlay"}) {
    CAPTURE(wrong);
    const auto refused = segnext(
        folder,
        std::string("predict --weights w.safetensors p.png p2.png --explain --output o ") + wrong);
    CHECK(refused.code == 2);
    CHECK(lines_of(refused.err) == 1);
  }
}
