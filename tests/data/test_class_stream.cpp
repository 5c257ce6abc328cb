// mixup and CutMix, the classifier's stream, and its scores.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "data/augment/random_use.h"
#include "data/scores/metrics.h"
#include "data/stream/loader.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;

namespace {

class Numbered : public ClassDataset {
 public:
  explicit Numbered(std::int64_t n) : n_(n) { classes_ = {"a", "b", "c"}; }
  std::int64_t size() const override { return n_; }
  std::string name(std::int64_t i) const override { return std::to_string(i); }
  int load_label(std::int64_t i) const override { return static_cast<int>(i % 3); }
  Image load_image(std::int64_t i) const override {
    return noise_image(40, 36, static_cast<std::uint64_t>(i));
  }

 private:
  std::int64_t n_;
};

using Stream = std::vector<std::pair<std::vector<float>, std::vector<std::int32_t>>>;

Stream stream(int workers, std::int64_t begin, std::int64_t end) {
  const Numbered data(11);
  ClassTransform t;
  t.size = 16;
  LoaderConfig c;
  c.batch = 4;
  c.seed = 9;
  c.start_iteration = begin;
  c.end_iteration = end;
  c.workers = workers;
  Loader loader(pictures_of(data, t, BatchMix{}), c);
  Stream result;
  while (!loader.done()) {
    const Batch batch = loader.next();
    CHECK(batch.images.shape() == Shape{4, 16, 16, 3});
    CHECK(batch.labels.shape() == Shape{4});
    result.emplace_back(batch.images.to_vector<float>(), batch.labels.to_vector<std::int32_t>());
  }
  return result;
}

}  // namespace

TEST_CASE("the classifier's stream is the same for any number of workers and after a restart") {
  const Stream reference = stream(0, 0, 8);
  for (const int workers : {1, 4}) CHECK(stream(workers, 0, 8) == reference);
  CHECK(stream(2, 5, 8) == Stream(reference.begin() + 5, reference.end()));
}

TEST_CASE("a damaged picture of a class gives its place and its class to the next") {
  class Damaged : public Numbered {
   public:
    using Numbered::Numbered;
    Image load_image(std::int64_t i) const override {
      if (i == 4) fail_input("picture 4 is cut");
      return Numbered::load_image(i);
    }
  };
  const Damaged data(5);
  ClassTransform t;
  t.size = 16;
  LoaderConfig c;
  c.batch = 5;
  c.end_iteration = 2;
  c.skip_damaged = true;
  Loader loader(pictures_of(data, t, BatchMix{}), c);
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    const Batch batch = loader.next();
    REQUIRE(batch.damaged.size() == 1);
    CHECK(batch.damaged[0].name == "4");
    CHECK(batch.damaged[0].message == "picture 4 is cut");
    std::vector<std::int32_t> labels;
    for (const std::int64_t i : epoch_permutation(c.seed, epoch, 5))
      labels.push_back(i == 4 ? 0 : static_cast<std::int32_t>(i % 3));
    CHECK(batch.labels.to_vector<std::int32_t>() == labels);
  }
}

TEST_CASE("mixup: exact mixtures of images, and of targets in the same shares") {
  const std::int64_t n = 5, h = 2, w = 3;
  std::vector<float> before, images;
  for (int i = 0; i < n * h * w * 3; ++i) before.push_back(static_cast<float>(i * i % 97));
  images = before;
  const MixPlan plan{.lambda = 0.75};
  mix_images(images, n, h, w, plan);
  for (std::int64_t k = 0; k < n; ++k)
    for (std::int64_t i = 0; i < 18; ++i)
      CHECK(images[static_cast<std::size_t>(k * 18 + i)] ==
            0.75f * before[static_cast<std::size_t>(k * 18 + i)] +
                0.25f * before[static_cast<std::size_t>((n - 1 - k) * 18 + i)]);
  const Tensor labels = Tensor::from(std::vector<std::int32_t>{0, 1, 2, 3, 1}, {5});
  const auto targets = soft_targets(labels, 4, 0.1, plan).to_vector<float>();
  const std::vector<std::vector<double>> shares = {
      {0.75, 0.25, 0, 0}, {0, 0.75, 0, 0.25}, {0, 0, 1, 0}, {0, 0.25, 0, 0.75}, {0.25, 0.75, 0, 0}};
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t c = 0; c < 4; ++c)
      CHECK(targets[i * 4 + c] == doctest::Approx(0.9 * shares[i][c] + 0.1 / 4));
  images = before;
  mix_images(images, n, h, w, {});
  CHECK(images == before);
  CHECK_THROWS_AS(soft_targets(labels, 3, 0, plan), Error);
}

TEST_CASE("targets: a label out of range is told before a number is written") {
  for (const std::vector<std::int32_t>& labels :
       {std::vector<std::int32_t>{0, 1, 3000000}, {0, 1, -3000000}, {3, 0, 0}}) {
    const Tensor bad = Tensor::from(labels, {3});
    CHECK_THROWS_AS(soft_targets(bad, 3, 0.1, MixPlan{}), Error);
  }
}

TEST_CASE("CutMix: lambda is the share of the picture that stays") {
  const BatchMix cut{.mixup_alpha = 0, .cutmix_alpha = 1};
  const std::int64_t h = 20, w = 30;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const MixPlan plan = cut.plan({1, i, 2, 0}, h, w);
    REQUIRE(plan.cut);
    std::vector<float> images(static_cast<std::size_t>(2 * h * w * 3), 0.0f);
    std::fill(images.begin() + h * w * 3, images.end(), 1.0f);
    mix_images(images, 2, h, w, plan);
    double first = 0, second = 0;
    for (std::int64_t k = 0; k < h * w; ++k) {
      first += images[static_cast<std::size_t>(3 * k)];
      second += images[static_cast<std::size_t>(3 * (h * w + k) + 1)];
    }
    CHECK(first / (h * w) == doctest::Approx(1 - plan.lambda));
    CHECK(second / (h * w) == doctest::Approx(plan.lambda));
  }
}

TEST_CASE("lambdas are drawn from Beta(alpha, alpha), and CutMix as often as asked for") {
  const auto moments = [](const BatchMix& mix) {
    double sum = 0, squares = 0, cuts = 0;
    const int n = 4000;
    for (int i = 0; i < n; ++i) {
      // A large picture: the box cut at the border does not matter to mixup.
      const MixPlan plan = mix.plan({4, static_cast<std::uint64_t>(i), 2, 0}, 64, 64);
      CHECK(plan.lambda >= 0);
      CHECK(plan.lambda <= 1);
      sum += plan.lambda;
      squares += plan.lambda * plan.lambda;
      cuts += plan.cut;
    }
    return std::array{sum / n, squares / n - sum / n * (sum / n), cuts / n};
  };
  // Variance of Beta(a, a): 1 / (4 (2a + 1)).
  for (const double alpha : {0.2, 0.8, 2.0}) {
    const auto [mean, variance, cuts] = moments({alpha, 0, 0.5});
    CHECK(std::abs(mean - 0.5) < 0.03);
    CHECK(std::abs(variance - 0.25 / (2 * alpha + 1)) < 0.012);
    CHECK(cuts == 0);
  }
  CHECK(std::abs(moments({0.8, 1, 0.5})[2] - 0.5) < 0.04);
  CHECK(moments({0.8, 1, 1})[2] == 1);
  CHECK(BatchMix{0, 0, 0.5}.plan({1, 2, 3, 4}, 8, 8).lambda == 1);
}

TEST_CASE("top-1 and top-5 by hand, ties and NaN") {
  const std::vector<float> scores{1, 3, 2, 3, -1, 0, 0.5f};
  CHECK(rank_of(scores, 1) == 0);
  CHECK(rank_of(scores, 3) == 1);  // the same score: the lower index first
  CHECK(rank_of(scores, 4) == 6);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(rank_of(std::vector<float>{nan, nan}, 0) == 1);
  ClassScores s(7);
  CHECK(std::isnan(s.top1()));
  std::vector<float> rows = scores;
  rows.insert(rows.end(), scores.begin(), scores.end());
  rows.insert(rows.end(), scores.begin(), scores.end());
  s.add(Tensor::from(rows, {3, 7}), {1, 0, 4});
  CHECK(s.top1() == doctest::Approx(1.0 / 3));
  CHECK(s.top5() == doctest::Approx(2.0 / 3));
  CHECK(s.matrix().scores().accuracy[1] == 1);
  CHECK(s.matrix().scores().accuracy[4] == 0);
  CHECK(std::isnan(s.matrix().scores().accuracy[2]));
  CHECK(s.matrix().count(0, 1) == 1);
  CHECK(s.matrix().count(4, 1) == 1);
  CHECK_THROWS_AS(s.add(Tensor::from(scores, {1, 7}), {7}), Error);
  CHECK_THROWS_AS(s.add(Tensor::from(scores, {1, 7}), {1, 2}), Error);
}
