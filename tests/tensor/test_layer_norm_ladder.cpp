// Every step of the ladder against the first. The ladder is the CPU's: where the other tests run on
// another device, this one runs on the CPU again.
#include <limits>
#include <string>

#include "tests/tensor/kernel_test.h"
#include "tests/tensor/layer_norm_ladder.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

struct Inputs {
  Tensor x, gamma, beta;
  Inputs to(DType dtype) const { return {x.to(dtype), gamma.to(dtype), beta.to(dtype)}; }
};

// x within 2 of `centre`. Numbers differ from shape to shape, so that memory which is used again
// does not hold the right result already.
template <class T>
Inputs inputs(const Shape& shape, double centre = 0) {
  const std::int64_t c = shape[shape.size() - 1];
  const auto seed = static_cast<std::uint64_t>(shape.numel());
  const Device cpu;
  return {random_tensor<T>(shape, seed, centre - 2, centre + 2).to(cpu),
          random_tensor<T>({c}, seed + 1).to(cpu), random_tensor<T>({c}, seed + 2).to(cpu)};
}

NormResult run(const LadderStep& step, const Inputs& in) {
  return step.run(in.x, in.gamma, in.beta, 1e-3);
}

// Bounds on compare.h's measure, in units of T's epsilon: about four times what was seen.
struct Bounds {
  double y, mean, rstd;
};

// Against the first step in f64; and the same, to the last bit, by one thread and by three.
template <class T>
void check_ladder(const Inputs& in, const Bounds& most) {
  constexpr double ulp = std::numeric_limits<T>::epsilon();
  const NormResult want = run(layer_norm_ladder().front(), in.to(DType::f64));
  std::vector<NormResult> kept;  // lest a step be given memory that holds another's results
  for (const LadderStep& step : layer_norm_ladder()) {
    const std::string name = step.name;
    CAPTURE(name);
    const auto [got, three] = with_threads([&] { return run(step, in); });
    CHECK(difference(got.y, want.y) <= most.y * ulp);
    CHECK(difference(got.mean, want.mean) <= most.mean * ulp);
    CHECK(difference(got.rstd, want.rstd) <= most.rstd * ulp);
    CHECK(numbers(three.y) == numbers(got.y));
    CHECK(numbers(three.mean) == numbers(got.mean));
    CHECK(numbers(three.rstd) == numbers(got.rstd));
    kept.insert(kept.end(), {got, three});
  }
}

}  // namespace

TEST_CASE_TEMPLATE("layer norm ladder: every step does what the first does", T, float, double) {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{17, 32}, Shape{9, 33}, Shape{64, 160},
                             Shape{5, 256}, Shape{1000, 24}, Shape{2, 3, 5, 8}, Shape{7001, 37}}) {
    CAPTURE(shape.str());
    check_ladder<T>(inputs<T>(shape), {.y = 32, .mean = 80, .rstd = 8});
  }
}

// y cannot be better than the mean, which is rounded once, to a half of its own ulp.
TEST_CASE_TEMPLATE("layer norm ladder: a mean far above the deviation", T, float, double) {
  for (const Shape& shape : {Shape{11, 32}, Shape{4, 256}, Shape{9, 1000}}) {
    CAPTURE(shape.str());
    check_ladder<T>(inputs<T>(shape, 1e4), {.y = 1e4, .mean = 1, .rstd = 16});
  }
}

TEST_CASE("layer norm ladder: no rows") {
  for (const LadderStep& step : layer_norm_ladder()) {
    const NormResult r = run(step, inputs<float>({0, 5}));
    CHECK(r.y.shape() == Shape{0, 5});
    CHECK(r.mean.shape() == Shape{0});
  }
}
