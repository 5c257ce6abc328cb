// Statistics that a residual sum leaves for the batch norm after it: no result may show whether
// they were there.
#include "models/mscan.h"
#include "nn/init.h"
#include "tensor/profile.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// Of batch norms, in bytes of x each: 2, or 3 where x had to be read for its statistics too.
template <class Fn>
double passes(std::size_t bytes, Fn&& fn) {
  const Profile profile;
  fn();
  return profile.ops().at("batch_norm").bytes / static_cast<double>(bytes);
}

struct Norm {
  Tensor gamma, beta;
  explicit Norm(const Tensor& x)
      : gamma(random_tensor<double>({x.dim(-1)}, 11).to(parameter_dtype(x.dtype()))),
        beta(random_tensor<double>({x.dim(-1)}, 12).to(parameter_dtype(x.dtype()))) {}
  NormResult operator()(const Tensor& x) const { return tested().batch_norm(x, gamma, beta, 1e-5); }
};

void check_same(const Tensor& a, const Tensor& b) {
  CHECK(numbers(a) == numbers(b));
}

// The batch norm of x takes so many passes, and gives what it gives for a copy.
void check_norm(const Tensor& x, double expected) {
  const Norm norm(x);
  NormResult got, want;
  CHECK(passes(x.nbytes(), [&] { got = norm(x); }) == expected);
  const Tensor copy = x.clone();
  CHECK(passes(x.nbytes(), [&] { want = norm(copy); }) == 3);
  check_same(got.y, want.y);
  check_same(got.mean, want.mean);
  check_same(got.rstd, want.rstd);
}

Tensor activation(const Shape& shape, std::uint64_t seed, DType dtype) {
  return random_tensor<double>(shape, seed).to(dtype);
}
Tensor sum_for_norm(const Tensor& x, const Tensor& branch, const Tensor& s = {},
                    const Tensor& mask = {}) {
  tested().expect_batch_norm();
  return tested().residual(x, branch, s, mask);
}
Tensor sum_of(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32) {
  return sum_for_norm(activation(shape, seed, dtype), activation(shape, seed + 1, dtype));
}

constexpr DType kActivations[] = {DType::f32, DType::f64, DType::bf16};
const std::vector<Shape> kShapes = {{2, 3, 5, 7},    {3, 1, 1, 8},   {5, 8},        {2, 300, 72},
                                    {3, 17, 19, 24}, {4, 31, 33, 1}, {1, 9, 9, 264}};

}  // namespace

TEST_CASE("producer statistics: residual") {
  for (const DType dtype : kActivations) {
    const DType parameter = parameter_dtype(dtype);
    for (const Shape& shape : kShapes) {
      CAPTURE(shape.str());
      const Tensor x = activation(shape, 1, dtype), branch = activation(shape, 2, dtype);
      for (const bool scaled : {false, true}) {
        for (const bool masked : {false, true}) {
          const Tensor s = scaled ? activation({shape[shape.size() - 1]}, 3, parameter) : Tensor();
          const Tensor mask = masked ? activation({shape[0]}, 4, parameter) : Tensor();
          const Tensor y = sum_for_norm(x, branch, s, mask);
          check_same(y, tested().residual(x, branch, s, mask));
          check_norm(y, 2);
          check_norm(y, 3);  // they are used once
        }
      }
    }
  }
}

TEST_CASE("producer statistics: linear residual") {
  Backend& b = tested();
  for (const DType dtype : kActivations) {
    const DType parameter = parameter_dtype(dtype);
    for (const Shape& shape : kShapes) {
      CAPTURE(shape.str());
      const std::int64_t in = 13, out = shape[shape.size() - 1];
      Shape narrow = shape;
      narrow[shape.size() - 1] = in;
      const Tensor base = activation(shape, 1, dtype), x = activation(narrow, 2, dtype);
      const Tensor weight = activation({out, in}, 3, parameter);
      for (const bool full : {false, true}) {
        const Tensor bias = full ? activation({out}, 4, parameter) : Tensor();
        const Tensor mask = full ? activation({shape[0]}, 5, parameter) : Tensor();
        const Activation f = full ? Activation::gelu : Activation::none;
        b.expect_batch_norm();
        const Tensor y = b.linear_residual(base, x, weight, bias, f, mask);
        check_same(y, b.linear_residual(base, x, weight, bias, f, mask));
        check_norm(y, 2);
      }
    }
  }
}

TEST_CASE("producer statistics: who has not said so gets none, one sum in between does no harm") {
  const Shape shape{2, 6, 5, 16};
  const Tensor x = activation(shape, 1, DType::f32), branch = activation(shape, 2, DType::f32);
  check_norm(tested().residual(x, branch, {}, {}), 3);
  const Tensor first = sum_of(shape, 3), second = sum_of(shape, 5);
  check_norm(first, 2);
  check_norm(second, 2);
  const Tensor oldest = sum_of(shape, 7), older = sum_of(shape, 9), newest = sum_of(shape, 11);
  check_norm(oldest, 3);
  check_norm(older, 2);
  check_norm(newest, 2);
  // A pack of 16 bytes does not fit these inputs, but would fit the sum.
  const Tensor odd = activation({2 * 6 * 5 * 16 + 1}, 13, DType::f32)
                         .slice(0, 1, 2 * 6 * 5 * 16 + 1)
                         .reshape(shape);
  check_norm(sum_for_norm(odd, branch), 3);
}

TEST_CASE("producer statistics: numbers that were changed, seen otherwise or replaced") {
  const Shape shape{2, 7, 9, 16};
  const Tensor other = activation(shape, 20, DType::f32);
  Tensor y = sum_of(shape, 1);
  y.add_(other);
  check_norm(y, 3);
  y = sum_of(shape, 3);
  Tensor part = y.slice(0, 1, 2);  // a view
  part.fill_(3);
  check_norm(y, 3);
  y = sum_of(shape, 5);
  check_norm(y.reshape({126, 16}), 2);  // the same channels
  y = sum_of(shape, 7);
  check_norm(y.reshape({2, 7, 18, 8}), 3);  // others
  y = sum_of(shape, 9);
  check_norm(y.slice(0, 0, 1), 3);
  // Another tensor, whose version is that of the sum, takes its address.
  y = sum_of(shape, 11);
  const void* address = y.raw();
  y = {};
  std::vector<Tensor> all;
  for (int i = 0; i < 8 && (all.empty() || all.back().raw() != address); ++i)
    all.push_back(tested().residual(other, other, {}, {}));
  WARN(all.back().raw() == address);
  for (const Tensor& t : all) check_norm(t, 3);
}

TEST_CASE("producer statistics: no memory stays") {
  const std::size_t before = tested().memory().live;
  { const Tensor y = sum_of({2, 7, 9, 16}, 1); }
  CHECK(tested().memory().live == before);
  {
    const Tensor y = sum_of({2, 7, 9, 16}, 1);
    check_norm(y, 2);
  }
  CHECK(tested().memory().live == before);
}

TEST_CASE("producer statistics: recordings") {
  Backend& b = tested();
  const Shape shape{2, 7, 9, 16};
  Tensor x = activation(shape, 1, DType::f32), y;
  const Tensor branch = activation(shape, 2, DType::f32);
  const Norm norm(x);
  NormResult inside, late;
  SUBCASE("a sum and its norm") {
    const auto recording = b.record([&] {
      y = sum_for_norm(x, branch);
      CHECK(passes(x.nbytes(), [&] { inside = norm(y); }) == 2);
    });
    for (const std::uint64_t seed : {3, 4}) {
      x.copy_(activation(shape, seed, DType::f32));
      const Tensor before = sum_of(shape, 30);  // others' statistics stay others'
      recording->replay();
      check_norm(before, 2);
      const NormResult want = norm(b.residual(x, branch, {}, {}));
      check_same(inside.y, want.y);
      check_same(inside.mean, want.mean);
      check_same(inside.rstd, want.rstd);
      check_norm(y, 3);
    }
  }
  SUBCASE("a norm of a sum made before") {
    y = sum_for_norm(x, branch);
    const auto recording =
        b.record([&] { CHECK(passes(x.nbytes(), [&] { inside = norm(y); }) == 3); });
    for (const std::uint64_t seed : {3, 4}) {
      y.copy_(activation(shape, seed, DType::f32));
      recording->replay();
      check_same(inside.y, norm(y.clone()).y);
    }
  }
  SUBCASE("a sum whose norm comes afterwards") {
    const auto recording = b.record([&] { y = sum_for_norm(x, branch); });
    recording->replay();
    check_norm(y, 3);
  }
}

TEST_CASE("producer statistics: blocks of MSCAN use them in training, and nobody in evaluation") {
  Block first(16, 4, 0), second(16, 4, 0);
  init_parameters(first, 1);
  init_parameters(second, 2);
  first.to(test_device());
  second.to(test_device());
  const Variable x(activation({2, 8, 8, 16}, 1, DType::f32));
  CHECK(passes(x.value().nbytes(), [&] { second(first(x)); }) == 3 + 2 + 2 + 2);
  first.train(false);
  const Variable y = first(x);
  check_norm(y.value(), 3);
}
