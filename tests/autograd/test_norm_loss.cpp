// Normalisations and cross entropy.
#include "autograd/arithmetic.h"
#include "autograd/loss.h"
#include "autograd/norm.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

TEST_CASE("batch norm") {
  for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{7, 1}, Shape{3, 2, 2, 33}}) {
    const Variable x = strided_leaf(shape, 1);
    const Variable g = leaf({shape[shape.size() - 1]}, 2), b = leaf({shape[shape.size() - 1]}, 3);
    require_op([](In in) { return batch_norm(in[0], in[1], in[2], 1e-5); }, {x, g, b});
    const Tensor mean = normal(g.shape(), 4), var = exp(Variable(normal(g.shape(), 5))).value();
    require_op([&](In in) { return batch_norm_eval(in[0], in[1], in[2], mean, var, 1e-5); },
               {x, g, b});
  }
}

TEST_CASE("batch norm against its formula") {
  const Variable x = leaf({2, 3, 5, 4}, 6), g = leaf({4}, 7), b = leaf({4}, 8);
  const Variable centred = x - mean(x, {0, 1, 2}, true);
  const Variable y = centred * rsqrt(mean(square(centred), {0, 1, 2}, true) + 1e-5) * g + b;
  CHECK(difference(batch_norm(x, g, b, 1e-5).value(), y.value()) < 1e-12);
}

TEST_CASE("layer norm and group norm") {
  const Variable x = strided_leaf({2, 3, 2, 12}, 9), g = leaf({12}, 10), b = leaf({12}, 11);
  require_op([](In in) { return layer_norm(in[0], in[1], in[2], 1e-5); }, {x, g, b});
  for (const int groups : {1, 3, 12})
    require_op([=](In in) { return group_norm(in[0], in[1], in[2], groups, 1e-5); }, {x, g, b});
  require_op([](In in) { return group_norm(in[0], in[1], in[2], 3, 1e-5); },
             {leaf({4, 12}, 12), g, b});
  CHECK_THROWS_AS(group_norm(x, g, b, 5, 1e-5), Error);
  CHECK_THROWS_AS(layer_norm(x, leaf({11}, 1), b, 1e-5), Error);
}

namespace {
Tensor labels_like(const Shape& shape, int classes) {
  RandomStream random({9, 0, 0, 0});
  std::vector<std::int32_t> values(static_cast<std::size_t>(shape.numel()));
  for (auto& v : values) {
    v = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(classes) + 1));
    if (v == classes) v = 255;
  }
  return Tensor::from(values, shape, test_device());
}
}  // namespace

TEST_CASE("cross entropy with every option") {
  using Normalise = CrossEntropyOptions::Normalise;
  const int classes = 6;
  const Variable logits = strided_leaf({2, 3, 4, classes}, 13);
  const Tensor labels = labels_like({2, 3, 4}, classes), fine = labels_like({2, 19, 27}, classes);
  const Tensor weights =
      Tensor::from(std::vector<double>{1, 0.5, 2, 0.1, 3, 1}, {classes}, test_device());
  for (const Normalise n : {Normalise::all, Normalise::valid, Normalise::none})
    for (const double smoothing : {0.0, 0.1})
      for (const Tensor& w : {Tensor(), weights}) {
        const CrossEntropyOptions o{255, smoothing, n};
        require_op([&](In in) { return cross_entropy(in[0], labels, o, w); }, {logits});
        require_op([&](In in) { return upsample_cross_entropy(in[0], fine, o, w); }, {logits});
        const Variable composed = cross_entropy(resize(logits, 19, 27), fine, o, w);
        CHECK(upsample_cross_entropy(logits, fine, o, w).item() ==
              doctest::Approx(composed.item()).epsilon(1e-12));
      }
}

TEST_CASE("cross entropy against log-softmax, and labels it must refuse") {
  const Variable logits = leaf({5, 4}, 14);
  const Tensor labels =
      Tensor::from(std::vector<std::int32_t>{0, 3, 255, 1, 2}, {5}, test_device());
  const auto lp = log_softmax(logits).value().to_vector<double>();
  const double by_hand = -(lp[0] + lp[7] + lp[13] + lp[18]);
  CHECK(cross_entropy(logits, labels).item() == doctest::Approx(by_hand / 5));
  CHECK(cross_entropy(logits, labels, {255, 0, CrossEntropyOptions::Normalise::valid}).item() ==
        doctest::Approx(by_hand / 4));
  for (const std::int32_t bad : {-1, 4, 254}) {
    const Tensor wrong = Tensor::from(std::vector<std::int32_t>(5, bad), {5}, test_device());
    CHECK_THROWS_AS(cross_entropy(logits, wrong).item(), Error);  // a GPU says so when waited for
  }
  const Tensor none = Tensor::from(std::vector<std::int32_t>(5, 255), {5}, test_device());
  CHECK(cross_entropy(logits, none, {255, 0, CrossEntropyOptions::Normalise::valid}).item() == 0);
  const Variable huge(Tensor::full({1, 2}, 1e30, DType::f32, test_device()), true);
  CHECK(std::isfinite(
      cross_entropy(huge, Tensor::from(std::vector<std::int32_t>{0}, {1}, test_device())).item()));
}

TEST_CASE("soft cross entropy: gradients, and the hard one where the targets are") {
  const Variable logits = strided_leaf({3, 2, 5}, 15);
  const Tensor shares = softmax(Variable(normal({3, 2, 5}, 16))).value();
  require_op([&](In in) { return soft_cross_entropy(in[0], shares); }, {logits});
  const Tensor labels =
      Tensor::from(std::vector<std::int32_t>{0, 4, 2, 1, 1, 3}, {3, 2}, test_device());
  for (const double smoothing : {0.0, 0.1}) {
    std::vector<double> targets(30, smoothing / 5);
    const auto hard = labels.to_vector<std::int32_t>();
    for (std::size_t i = 0; i < 6; ++i)
      targets[i * 5 + static_cast<std::size_t>(hard[i])] += 1 - smoothing;
    CHECK(soft_cross_entropy(logits, Tensor::from(targets, {3, 2, 5}, test_device())).item() ==
          doctest::Approx(cross_entropy(logits, labels, {255, smoothing}).item()).epsilon(1e-12));
  }
  CHECK_THROWS_AS(soft_cross_entropy(logits, labels), Error);
}
