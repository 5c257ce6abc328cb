#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

using Normalise = CrossEntropyOptions::Normalise;

// Loss and gradient of PyTorch's CrossEntropyLoss by its definition.
struct Plain {
  double loss = 0, normaliser = 0;
  Doubles gradient;
};

Plain plain_loss(const Doubles& v, const std::vector<std::int32_t>& labels, std::size_t k,
                 const Tensor& weights, const CrossEntropyOptions& o) {
  Plain p;
  p.gradient.resize(v.size());
  const Doubles w = weights.defined() ? numbers(weights) : Doubles(k, 1.0);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == o.ignore_label) continue;
    const std::size_t label = at(labels[i]);
    Doubles z(v.begin() + static_cast<std::ptrdiff_t>(i * k),
              v.begin() + static_cast<std::ptrdiff_t>((i + 1) * k));
    const double most = *std::max_element(z.begin(), z.end());
    double sum = 0, total = 0;
    for (double& x : z) sum += std::exp(x -= most);
    Doubles target(k);
    for (std::size_t c = 0; c < k; ++c) {
      target[c] = w[c] * ((c == label ? 1 - o.label_smoothing : 0.0) +
                          o.label_smoothing / static_cast<double>(k));
      total += target[c];
      p.loss -= target[c] * (z[c] - std::log(sum));
    }
    for (std::size_t c = 0; c < k; ++c) {
      p.gradient[i * k + c] = total * std::exp(z[c]) / sum - target[c];
    }
    p.normaliser += w[label];
  }
  if (o.normalise == Normalise::all) p.normaliser = static_cast<double>(labels.size());
  if (o.normalise == Normalise::none) p.normaliser = 1;
  p.normaliser = std::max(p.normaliser, 1e-12);
  p.loss /= p.normaliser;
  for (double& g : p.gradient) g /= p.normaliser;
  return p;
}

std::vector<CrossEntropyOptions> all_options() {
  std::vector<CrossEntropyOptions> out;
  for (const Normalise n : {Normalise::all, Normalise::valid, Normalise::none}) {
    for (const double smoothing : {0.0, 0.1}) out.push_back({255, smoothing, n});
  }
  return out;
}

Doubles scaled(Doubles v, double by) {
  for (double& x : v) x *= by;
  return v;
}

}  // namespace

TEST_CASE_TEMPLATE("loss: cross entropy, weights, smoothing and normalisers", T, float, double) {
  for (const auto& [pixels, k] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {1, 5}, {2500, 3}, {37, 171}}) {
    const Tensor logits = random_tensor<T>({pixels, k}, 1, -5, 5);
    const Tensor labels = random_labels({pixels}, 2, k, 255);
    for (const bool weighted : {false, true}) {
      const Tensor weights = weighted ? random_tensor<T>({k}, 3, 0.2, 2) : Tensor();
      for (const CrossEntropyOptions& o : all_options()) {
        const Plain p =
            plain_loss(numbers(logits), labels.to_vector<std::int32_t>(), at(k), weights, o);
        const auto [r, r3] = with_threads([&] {
          return tested().cross_entropy(logits, {labels, weights, o});
        });
        CHECK(r.loss.ndim() == 0);
        CHECK(r.loss.item() == doctest::Approx(p.loss).epsilon(tolerance<T>()));
        CHECK(r.loss.item() == r3.loss.item());
        CHECK(r.normaliser.item() == doctest::Approx(p.normaliser));
        const Tensor g =
            tested().cross_entropy_backward(logits, {labels, weights, o}, r, scalar<T>(0.5));
        CHECK(worst(g, scaled(p.gradient, 0.5)) < tolerance<T>());
      }
    }
  }
}

TEST_CASE_TEMPLATE("loss: upsampled cross entropy is resize and cross entropy", T, float, double) {
  struct Case {
    Shape logits;
    std::int64_t h, w;
    double range = 5;  // of the logits: cells are gentle, mixed or steep
  };
  const std::vector<Case> cases = {
      {{2, 3, 4, 5}, 24, 32},      {{1, 5, 3, 1}, 13, 11},     {{2, 4, 5, 19}, 4, 5},
      {{1, 1, 1, 3}, 5, 4},        {{1, 7, 6, 3}, 3, 2},       {{1, 3, 2, 150}, 17, 9},
      {{1, 1, 9, 16}, 8, 72},      {{1, 9, 1, 17}, 72, 8},     {{1, 11, 2, 7}, 88, 50},
      {{1, 2, 3, 33}, 61, 90},     {{1, 3, 4, 8}, 24, 32, 12}, {{1, 6, 5, 150}, 48, 40, 12},
      {{1, 6, 5, 3}, 40, 37, 100}, {{1, 2, 2, 4}, 16, 16, 1e4}};
  for (const Case& c : cases) {
    CAPTURE(c.logits.str());
    CAPTURE(c.range);
    const std::int64_t k = c.logits[3];
    const Tensor logits = random_tensor<T>(c.logits, 1, -c.range, c.range);
    const Tensor labels = random_labels({c.logits[0], c.h, c.w}, 2, k, 255);
    const Tensor full = tested().resize(logits.to(DType::f64), c.h, c.w, Resize::bilinear);
    for (const bool weighted : {false, true}) {
      const Tensor weights = weighted ? random_tensor<T>({k}, 3, 0.2, 2) : Tensor();
      for (const CrossEntropyOptions& o : all_options()) {
        const Plain p =
            plain_loss(numbers(full), labels.to_vector<std::int32_t>(), at(k), weights, o);
        const Tensor want = tested().resize_backward(
            c.logits, Tensor::from(scaled(p.gradient, 3.0), full.shape(), test_device()),
            Resize::bilinear);
        const auto [r, r3] = with_threads([&] {
          return tested().upsample_cross_entropy(logits, {labels, weights, o});
        });
        CHECK(r.log_sum.shape() == labels.shape());
        CHECK(r.loss.item() == doctest::Approx(p.loss).epsilon(tolerance<T>()));
        CHECK(r.loss.item() == r3.loss.item());
        CHECK(r.normaliser.item() == doctest::Approx(p.normaliser));
        const auto backward = [&, &r = r] {
          return tested().upsample_cross_entropy_backward(logits, {labels, weights, o}, r,
                                                          scalar<T>(3.0));
        };
        const auto [g, g3] = with_threads(backward);
        CHECK(worst(g, numbers(want)) < tolerance<T>());
        CHECK(numbers(g) == numbers(g3));
      }
    }
  }
}

TEST_CASE_TEMPLATE("loss: large logits, nothing but ignored pixels, labels out of range", T, float,
                   double) {
  const Tensor logits =
      Tensor::from(std::vector<T>{T(1e4), T(-1e4), 0, 0}, {1, 1, 2, 2}, test_device());
  const CrossEntropyOptions o{255, 0, Normalise::valid};
  const auto labels = [](std::int32_t a, std::int32_t b) {
    return Tensor::from(std::vector<std::int32_t>{a, b}, {1, 1, 2}, test_device());
  };
  const auto r = tested().upsample_cross_entropy(logits, {labels(0, 1), Tensor(), o});
  CHECK(r.loss.item() == doctest::Approx(std::log(2.0) / 2).epsilon(1e-6));
  const auto none = tested().upsample_cross_entropy(logits, {labels(255, 255), Tensor(), o});
  CHECK(none.loss.item() == 0);
  const Tensor g = tested().upsample_cross_entropy_backward(logits, {labels(255, 255), Tensor(), o},
                                                            none, scalar<T>(1));
  CHECK(numbers(g) == Doubles(4, 0.0));
  const Tensor flat = logits.reshape({2, 2});
  for (const std::int32_t bad : {2, -1, 254}) {
    // A device may say so only when the host waits for it.
    const auto upsampled = [&] {
      return tested().upsample_cross_entropy(logits, {labels(0, bad), Tensor(), o}).loss.item();
    };
    const auto plain = [&] {
      return tested().cross_entropy(flat, {labels(0, bad).reshape({2}), Tensor(), o}).loss.item();
    };
    const bool cpu = test_device() == Device{};
    const std::string label =
        fmt::format("label {}{} is neither in [0, 2)", bad, cpu ? " (pixel 1)" : "");
    CHECK_THROWS_WITH_AS(upsampled(), doctest::Contains(label.c_str()), Error);
    CHECK_THROWS_WITH_AS(plain(), doctest::Contains(label.c_str()), Error);
  }
}
