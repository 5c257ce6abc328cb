// NMF, VQ and CD against the golden file, and their derivatives against differences.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/linalg.h"
#include "autograd/reduce.h"
#include "nn/decomposition.h"
#include "nn/random.h"
#include "tests/compare.h"
#include "tests/device.h"
#include "tests/golden/formula.h"

using namespace nextgrad;
using nlohmann::json;
using Options = DecompositionOptions;

namespace {

Options options_of(const json& entry) {
  Options o;
  const auto kind = entry.at("decomposition").get<std::string>();
  o.kind = kind == "nmf"  ? Options::Kind::nmf
           : kind == "vq" ? Options::Kind::vq
                          : Options::Kind::cd;
  o.gradient = entry.at("gradient") == "unrolled" ? Options::Gradient::unrolled
                                                  : Options::Gradient::one_step;
  o.groups = entry.at("S").get<int>();
  o.spatial = entry.at("spatial").get<bool>();
  o.rank = entry.at("R").get<int>();
  o.train_steps = entry.at("train_steps").get<int>();
  o.eval_steps = entry.at("eval_steps").get<int>();
  o.inv_t = entry.at("inv_t").get<double>();
  return o;
}

double difference_of_sevenths(const std::vector<double>& ours, const json& stored) {
  std::vector<double> sevenths;
  for (std::size_t i = 0; i < ours.size(); i += 7) sevenths.push_back(ours[i]);
  return test::difference(sevenths, stored.get<std::vector<double>>());
}

// Largest error of an entry's outputs and input gradients.
double run_entry(const json& entry) {
  const auto extents = entry.at("shape").get<std::vector<std::int64_t>>();
  const Shape nchw{std::span<const std::int64_t>(extents)};
  const Options o = options_of(entry);
  const bool positive = o.kind == Options::Kind::nmf;
  MatrixDecomposition ham(o);
  const std::int64_t d = o.spatial ? nchw[1] / o.groups : nchw[2] * nchw[3];
  const std::int64_t batch = nchw[0] * o.groups;
  ham.set_bases(Tensor::from(golden::bases(batch, d, o.rank, positive), {batch, d, o.rank},
                             test::test_device()));
  test::Worst worst;
  for (const char* mode : {"eval", "train"}) {
    if (!entry.contains(mode)) continue;
    const json& section = entry.at(mode);
    ham.train(std::string(mode) == "train");
    const auto values =
        positive ? golden::units("x", nchw.numel()) : golden::signs("x", nchw.numel());
    const Variable x(golden::channels_last(values, nchw).to(test::test_device()), true);
    const Variable y = ham(x);
    const Tensor cotangent = golden::channels_last(golden::signs("cotangent", nchw.numel()), nchw);
    y.backward(cotangent.to(test::test_device()));
    worst.see(difference_of_sevenths(golden::channels_first(y.value()), section.at("output")));
    worst.see(
        difference_of_sevenths(golden::channels_first(x.grad()), section.at("input_gradient")));
  }
  return worst.error();
}

Variable random_input(const Shape& shape, bool positive) {
  const Tensor t =
      backend_of(Device{}).random_uniform(shape, DType::f64, {.seed = 11}).to(test::test_device());
  const NoGrad guard;
  return Variable((positive ? Variable(t) + 0.1 : Variable(t) * 2 - 1).value(), true);
}

}  // namespace

TEST_CASE("matrix decompositions agree with the golden file") {
  const json file = golden::read(golden::folder() / "matrix_decomposition.json");
  REQUIRE(!file.empty());
  test::Worst worst;
  for (const json& entry : file) {
    const double error = run_entry(entry);
    worst.see(error);
    CHECK_MESSAGE(error < 1e-9, entry.at("decomposition"), " ", entry.at("gradient"),
                  " S=", entry.at("S"), " spatial=", entry.at("spatial"), ": ", error);
  }
  fmt::print("matrix_decomposition:  f64 worst {:.1e} of {} entries\n", worst.error(), file.size());
}

TEST_CASE("unrolled gradients of all three decompositions") {
  for (const auto kind : {Options::Kind::nmf, Options::Kind::vq, Options::Kind::cd}) {
    for (const int groups : {1, 2}) {
      for (const bool spatial : {true, false}) {
        // A soft softmax: at the published 100 the function is too steep for differences.
        Options o{.kind = kind,
                  .groups = groups,
                  .spatial = spatial,
                  .rank = 3,
                  .train_steps = 2,
                  .inv_t = 2};
        MatrixDecomposition ham(o);
        const bool positive = kind == Options::Kind::nmf;
        const std::int64_t d = spatial ? 6 / groups : 15;
        ham.set_bases(Tensor::from(golden::bases(2 * groups, d, 3, positive), {2 * groups, d, 3},
                                   test::test_device()));
        const auto result = gradcheck([&](const std::vector<Variable>& in) { return ham(in[0]); },
                                      {random_input({2, 3, 5, 6}, positive)});
        CHECK_MESSAGE(result.ok(), static_cast<int>(kind), groups, spatial, " ", result.where);
      }
    }
  }
}

TEST_CASE("inverse and normalize") {
  const auto a = [&] {
    std::vector<double> v = golden::signs("a", 2 * 4 * 4);
    for (std::size_t i = 0; i < 8; ++i) v[(i / 4) * 16 + (i % 4) * 5] += 2;
    return Variable(Tensor::from(v, {2, 4, 4}, test::test_device()), true);
  }();
  CHECK(gradcheck([](const std::vector<Variable>& in) { return inverse(in[0]); }, {a}).ok());
  const Tensor identity = a.backend().matmul(a.value(), inverse(a).value(), false, false);
  const auto product = identity.to_vector<double>();
  for (std::size_t i = 0; i < product.size(); ++i) {
    CHECK(product[i] == doctest::Approx(i % 16 % 5 == 0 ? 1 : 0).epsilon(1e-12));
  }
  // A zero pivot at first needs a row exchange; a singular matrix is told.
  const Variable swap(
      Tensor::from(std::vector<double>{0, 1, 1, 0}, {1, 2, 2}, test::test_device()));
  CHECK(inverse(swap).value().to_vector<double>() == std::vector<double>{0, 1, 1, 0});
  CHECK_THROWS_AS(inverse(Variable(Tensor::zeros({1, 2, 2}, DType::f64, test::test_device()))),
                  Error);
  CHECK_THROWS_AS(inverse(Variable(Tensor::zeros({2, 2}, DType::f64, test::test_device()))), Error);

  const Variable x(Tensor::from(golden::signs("x", 24), {2, 3, 4}, test::test_device()), true);
  CHECK(gradcheck([](const std::vector<Variable>& in) { return normalize(in[0], 1); }, {x}).ok());
  CHECK(
      sum(normalize(Variable(Tensor::zeros({2, 3}, DType::f64, test::test_device())), 1)).item() ==
      0);
}

TEST_CASE("random bases: new each time in training, the same for every sample in evaluation") {
  MatrixDecomposition ham({.rank = 4});
  const Variable one = random_input({1, 4, 5, 8}, true);
  Tensor twice = Tensor::empty({2, 4, 5, 8}, DType::f64, test::test_device());
  twice.copy_(one.value());
  const std::int64_t size = one.value().numel();
  const auto halves_equal = [&](const Variable& y) {
    const auto v = y.value().to_vector<double>();
    return std::equal(v.begin(), v.begin() + size, v.begin() + size);
  };
  ham.eval();
  const auto alone = ham(one).value().to_vector<double>();
  const Variable both = ham(Variable(twice));
  CHECK(halves_equal(both));
  const auto first = both.value().to_vector<double>();
  REQUIRE(first.size() == 2 * alone.size());
  CHECK(test::difference(std::span(first).first(alone.size()), alone) < 1e-14);
  ham.train();
  const auto run = [&](std::uint64_t iteration) {
    const RandomScope scope(3, iteration);
    return ham(Variable(twice));
  };
  CHECK_FALSE(halves_equal(run(0)));
  CHECK(run(0).value().to_vector<double>() == run(0).value().to_vector<double>());
  CHECK(run(0).value().to_vector<double>() != run(1).value().to_vector<double>());
}

TEST_CASE("wrong use of a decomposition is told") {
  MatrixDecomposition ham({.groups = 3});
  CHECK_THROWS_AS(ham(random_input({1, 2, 2, 8}, true)), Error);
  CHECK_THROWS_AS(ham(random_input({2, 2, 9}, true)), Error);
  CHECK_THROWS_AS(MatrixDecomposition({.rank = 0}), Error);
  ham.set_bases(Tensor::zeros({1, 2, 2}, DType::f64, test::test_device()));
  CHECK_THROWS_AS(ham(random_input({1, 2, 2, 9}, true)), Error);
}
