// The random context and its replay under recomputation.
#include <doctest/doctest.h>

#include "autograd/arithmetic.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "nn/dropout.h"
#include "nn/norm.h"
#include "nn/random.h"
#include "tests/device.h"

using namespace nextgrad;

TEST_CASE("keys count up in a scope, scopes nest") {
  const auto same = [](const RandomKey& a, const RandomKey& b) {
    return a.seed == b.seed && a.iteration == b.iteration && a.use == b.use && a.sample == b.sample;
  };
  const RandomScope outer(4, 9);
  CHECK(same(next_random_key(), {.seed = 4, .iteration = 9, .use = 0}));
  CHECK(same(next_random_key(), {.seed = 4, .iteration = 9, .use = 1}));
  {
    const RandomScope inner(5, 1);
    CHECK(same(next_random_key(), {.seed = 5, .iteration = 1, .use = 0}));
  }
  CHECK(same(next_random_key(), {.seed = 4, .iteration = 9, .use = 2}));
}

TEST_CASE("recomputation draws the same masks and counts statistics once") {
  Dropout dropout(0.5);
  BatchNorm2d norm(3);
  norm.to(DType::f64);
  norm.to(test::test_device());
  const auto run = [&](bool recompute) {
    const RandomScope scope(1, 2);
    norm.running_mean.fill_(0);
    const Variable x(backend_of(Device{})
                         .random_normal({2, 4, 5, 3}, DType::f64, {.seed = 3})
                         .to(test::test_device()),
                     true);
    const auto fn = [&](const std::vector<Variable>& in) {
      return square(dropout(norm(dropout(in[0]))));
    };
    const Variable y = recompute ? recomputed(fn, {x}) : fn({x});
    const Variable z = dropout(y);  // draws after it go on where it ended
    sum(z).backward();
    auto result = x.grad().to_vector<double>();
    result.push_back(sum(z).item());
    for (const double m : norm.running_mean.to_vector<double>()) result.push_back(m);
    return result;
  };
  CHECK(run(true) == run(false));
  CHECK(norm.num_batches_tracked.item() == 2);
}

TEST_CASE("a backward after its scope is an error, not another mask") {
  Dropout dropout(0.5);
  const Variable x(Tensor::full({8}, 1, DType::f64, test::test_device()), true);
  Variable y;
  {
    const RandomScope scope(1, 2);
    y = recomputed([&](const std::vector<Variable>& in) { return dropout(in[0]); }, {x});
  }
  const RandomScope later(1, 3);
  CHECK_THROWS_AS(sum(y).backward(), Error);
}
