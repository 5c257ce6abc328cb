// The measure that all tests share must notice what is wrong.
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {
const double kNan = std::nan("");
}

TEST_CASE("compare: the worst error stays, a NaN above all, and nothing seen is no success") {
  Worst worst;
  CHECK(worst.error() == HUGE_VAL);
  worst.see(0);
  CHECK(worst.error() == 0);
  worst.see(2, "two");
  worst.see(1, "one");
  CHECK(worst.error() == 2);
  CHECK(worst.entry() == "two");
  worst.see(kNan, "none");
  worst.see(3, "three");
  CHECK(worst.error() == HUGE_VAL);
  CHECK(worst.entry() == "none");
  Worst negative;  // no distance is
  negative.see(-1);
  CHECK(negative.error() == HUGE_VAL);
}

TEST_CASE("compare: numbers that differ, are none, are too few or too small") {
  const Doubles a = {1, -2, 4};
  CHECK(difference(a, a) == 0);
  CHECK(difference(Doubles{1, -2, 4.5}, a) == doctest::Approx(0.1));
  CHECK(difference(Doubles{1, 2, 4}, a) > 1);
  for (std::size_t i = 0; i < 3; ++i) {
    Doubles with = a;
    with[i] = kNan;
    CHECK(difference(with, a) == HUGE_VAL);
    CHECK(difference(a, with) == HUGE_VAL);
    CHECK(difference(with, with) == HUGE_VAL);
    CHECK(difference(with, with, Nan::as_wanted) == 0);
    CHECK(difference(with, a, Nan::as_wanted) == HUGE_VAL);
    CHECK(difference(a, with, Nan::as_wanted) == HUGE_VAL);
    with[i] = HUGE_VAL;
    CHECK(difference(with, a) == HUGE_VAL);
    CHECK(difference(a, with) == HUGE_VAL);
    CHECK(difference(with, with) == 0);
  }
  CHECK(difference(Doubles{1, -2}, a) == HUGE_VAL);
  CHECK(difference(Doubles{}, Doubles{}) == HUGE_VAL);
  // Small numbers that are wholly wrong, and noise where zeros are wanted.
  CHECK(difference(Doubles{0, 0}, Doubles{1e-7, 2e-7}) > 0.3);
  CHECK(difference(Doubles{1e-12, 0}, Doubles{0, 0}) < 1e-11);
}

TEST_CASE("compare: tensors of the same numbers in another shape differ") {
  const Tensor a = random_tensor<double>({2, 3}, 1);
  CHECK(difference(a, a.clone()) == 0);
  CHECK(difference(a, a.reshape({3, 2})) == HUGE_VAL);
  CHECK(difference(a, Tensor()) == HUGE_VAL);
  CHECK(difference(Tensor(), Tensor()) == HUGE_VAL);
}
