// The exponential moving average of weights.
#include <doctest/doctest.h>

#include "nn/ema.h"
#include "nn/norm.h"
#include "tests/device.h"

using namespace nextgrad;

namespace {
double weight(const BatchNorm2d& n) {
  return n.weight.value().to_vector<double>()[0];
}
void set(BatchNorm2d& n, double v) {
  n.weight.set_value(Tensor::full({2}, v, DType::f64, test::test_device()));
}
}  // namespace

TEST_CASE("average, exchange, buffers, saved state") {
  BatchNorm2d norm(2);
  norm.to(DType::f64);
  norm.to(test::test_device());
  WeightAverage average(norm, 0.5);
  double expected = 1;
  const double decays[] = {0.1, 2.0 / 11, 0.25, 4.0 / 13};
  for (int t = 0; t < 4; ++t) {
    set(norm, 2.0 + t);
    norm.running_mean.fill_(t);
    average.update();
    expected = decays[t] * expected + (1 - decays[t]) * (2.0 + t);
  }
  norm.running_mean.fill_(50);
  {
    const AveragedWeights guard(average);
    CHECK(weight(norm) == doctest::Approx(expected).epsilon(1e-12));
    CHECK(norm.running_mean.to_vector<double>()[0] == 3);
    CHECK_THROWS_AS(average.update(), Error);
    CHECK_THROWS_AS(average.state(), Error);
  }
  CHECK(weight(norm) == 5);
  CHECK(norm.running_mean.to_vector<double>()[0] == 50);

  BatchNorm2d copy(2);
  copy.to(DType::f64);
  copy.to(test::test_device());
  WeightAverage resumed(copy, 0.5);
  resumed.load_state(average.state());
  set(norm, -1);
  set(copy, -1);
  average.update();
  resumed.update();
  average.swap();
  resumed.swap();
  CHECK(weight(copy) == weight(norm));
  BatchNorm2d wider(3);
  WeightAverage other(wider, 0.5);
  average.swap();
  CHECK_THROWS_AS(other.load_state(average.state()), InputError);
  CHECK_THROWS_AS(WeightAverage(norm, 1.0), Error);
}

TEST_CASE("the average is not the weights themselves") {
  BatchNorm2d norm(2);
  WeightAverage average(norm, 0.9);
  Tensor w = norm.weight.value();
  w.fill_(7);  // in place, as an optimiser does
  average.swap();
  CHECK(weight(norm) == 1);
}
