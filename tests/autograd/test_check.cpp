// The checks of derivatives must notice what is wrong.
#include "autograd/arithmetic.h"
#include "autograd/reduce.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

namespace {

// factor x^2 with a backward that is what `slope` makes of the right one, 2 factor x dy.
Fn squared(double factor,
           const std::function<Variable(const Variable& right, const Variable& dy)>& slope) {
  return [=](In in) {
    const Variable x = in[0].detach();
    return record("square", (square(x) * factor).value(), {in[0]},
                  [=](const Tensor& g) -> std::vector<Tensor> {
                    const NoGrad off;
                    const Variable dy(g);
                    return {slope(x * dy * (2 * factor), dy).value()};
                  });
  };
}
const Fn kRight = squared(1, [](const Variable& right, const Variable&) { return right; });
const Fn kDoubled = squared(1, [](const Variable& right, const Variable&) { return right * 2.0; });
const Fn kNone = squared(1, [](const Variable& right, const Variable&) { return right / 0.0; });

}  // namespace

TEST_CASE("gradcheck notices a wrong derivative") {
  const Variable x = leaf({3, 4}, 15);
  const auto worst = [&](const Fn& fn) { return gradcheck(fn, {x}).worst; };
  CHECK(worst(kRight) < 1e-8);
  CHECK(worst(kDoubled) > 0.4);
  CHECK(worst(kNone) == HUGE_VAL);
  // Right for cotangents of one sign only.
  CHECK(worst(squared(1, [](const Variable& right, const Variable& dy) {
          return right * relu(dy) / dy;
        })) > 0.4);
  // Small, and right or wholly wrong.
  CHECK(worst(squared(1e-7, [](const Variable& right, const Variable&) { return right; })) < 1e-8);
  CHECK(worst(squared(1e-7, [](const Variable& right, const Variable&) { return -right; })) > 0.4);
  // A single element of many, itself small.
  Tensor mask = Tensor::full({3, 4}, 1.0, DType::f64, test_device());
  mask.slice(0, 1, 2).slice(1, 2, 3).fill_(1.001);
  CHECK(worst(squared(1, [=](const Variable& right, const Variable&) {
          return right * Variable(mask);
        })) > 1e-6);
}

TEST_CASE("gradcheck refuses to compare nothing") {
  const Variable w = leaf({3}, 1), constant(normal({3}, 2));
  CHECK_THROWS_AS(gradcheck([&](In in) { return in[0] * w; }, {constant}), Error);
  CHECK_THROWS_AS(gradcheck([](In in) { return in[0] * 2.0; }, {leaf({0}, 1)}), Error);
}

TEST_CASE("require_gradcheck fails for a wrong derivative" * doctest::should_fail()) {
  require_gradcheck(kDoubled, {leaf({5}, 1)});
}
TEST_CASE("require_f32_like_f64 fails where f32 is another function" * doctest::should_fail()) {
  require_f32_like_f64([](In in) { return in[0] + (in[0].dtype() == DType::f32 ? 0.01 : 0.0); },
                       {leaf({5}, 1)});
}
TEST_CASE("require_f32_like_f64 fails where f32 has no gradient" * doctest::should_fail()) {
  require_f32_like_f64([](In in) { return in[0].dtype() == DType::f32 ? kNone(in) : kRight(in); },
                       {leaf({5}, 1)});
}
TEST_CASE("require_same fails for another value" * doctest::should_fail()) {
  require_same([](In in) { return in[0] + 0.0; }, [](In in) { return in[0] + 0.001; },
               {leaf({5}, 1)});
}
TEST_CASE("require_same fails for another gradient" * doctest::should_fail()) {
  require_same(kRight, kDoubled, {leaf({5}, 1)});
}
