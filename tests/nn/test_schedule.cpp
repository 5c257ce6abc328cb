// Learning-rate schedules at their corners. Rates are small: scale(0) compares them with themselves
// and not with 1.
#include <doctest/doctest.h>

#include "nn/schedule.h"
#include "tensor/error.h"

using namespace nextgrad;

TEST_CASE("polynomial decay with linear warm-up, as published") {
  const Schedule s{.base_lr = 6e-5, .iterations = 160000, .warmup = 1500};
  CHECK(s.lr(0) == doctest::Approx(6e-5 * 1e-6).epsilon(1e-9).scale(0));
  const double regular = 6e-5 * (1 - 750.0 / 160000);
  CHECK(s.lr(750) == doctest::Approx(regular * (1 - 0.5 * (1 - 1e-6))).epsilon(1e-12).scale(0));
  CHECK(s.lr(1499) < s.lr(1500));
  CHECK(s.lr(1500) == doctest::Approx(6e-5 * (1 - 1500.0 / 160000)).epsilon(1e-12).scale(0));
  CHECK(s.lr(159999) == doctest::Approx(6e-5 / 160000).epsilon(1e-9).scale(0));
  CHECK(s.lr(160000) == 0);
  CHECK(s.lr(200000) == 0);
}

TEST_CASE("power, least rate, cosine and constant") {
  const Schedule poly{.base_lr = 1, .min_lr = 0.1, .iterations = 10, .power = 2, .warmup = 0};
  CHECK(poly.lr(0) == 1);
  CHECK(poly.lr(5) == doctest::Approx(0.9 * 0.25 + 0.1));
  CHECK(poly.lr(10) == doctest::Approx(0.1));
  const Schedule cosine{.kind = Schedule::Kind::cosine,
                        .base_lr = 2,
                        .min_lr = 1,
                        .iterations = 8,
                        .warmup = 2,
                        .warmup_ratio = 0.5};
  CHECK(cosine.lr(0) == doctest::Approx(1));
  CHECK(cosine.lr(4) == doctest::Approx(1.5));
  CHECK(cosine.lr(8) == doctest::Approx(1));
  CHECK(cosine.lr(99) == doctest::Approx(1));
  const Schedule flat{.kind = Schedule::Kind::constant, .base_lr = 3, .iterations = 5, .warmup = 0};
  CHECK(flat.lr(0) == 3);
  CHECK(flat.lr(100) == 3);
}

TEST_CASE("names of schedules") {
  CHECK(parse_schedule("poly") == Schedule::Kind::polynomial);
  CHECK(parse_schedule("polynomial") == Schedule::Kind::polynomial);
  CHECK(parse_schedule("cosine") == Schedule::Kind::cosine);
  CHECK(parse_schedule("constant") == Schedule::Kind::constant);
  CHECK_THROWS_AS(parse_schedule("step"), InputError);
}
