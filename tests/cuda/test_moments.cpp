// Moments that a residual sum leaves for the batch norm after it: no result may show whether they
// were there.
#include "autograd/recompute.h"
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

void check_same(const Tensor& a, const Tensor& b) {
  CHECK(numbers(a) == numbers(b));
}

Tensor parameter_of(const Tensor& x, std::uint64_t seed) {
  return random_tensor<double>({x.dim(-1)}, seed).to(parameter_dtype(x.dtype()));
}
NormResult norm(const Tensor& x, const Tensor& moments) {
  return tested().batch_norm(x, parameter_of(x, 11), parameter_of(x, 12), 1e-5, moments);
}

// The batch norm of x takes so many passes, and gives what it gives without moments.
void check_norm(const Tensor& x, const Tensor& moments, double expected) {
  NormResult got, want;
  CHECK(passes(x.nbytes(), [&] { got = norm(x, moments); }) == expected);
  CHECK(passes(x.nbytes(), [&] { want = norm(x, {}); }) == 3);
  check_same(got.y, want.y);
  check_same(got.mean, want.mean);
  check_same(got.rstd, want.rstd);
}

Tensor activation(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32) {
  return random_tensor<double>(shape, seed).to(dtype);
}

constexpr DType kActivations[] = {DType::f32, DType::f64, DType::bf16};
const std::vector<Shape> kShapes = {{2, 3, 5, 7},    {3, 1, 1, 8},   {5, 8},        {2, 300, 72},
                                    {3, 17, 19, 24}, {4, 31, 33, 1}, {1, 9, 9, 264}};

}  // namespace

TEST_CASE("moments of a residual sum") {
  for (const DType dtype : kActivations) {
    const DType parameter = parameter_dtype(dtype);
    for (const Shape& shape : kShapes) {
      CAPTURE(shape.str());
      const Tensor x = activation(shape, 1, dtype), branch = activation(shape, 2, dtype);
      for (const bool scaled : {false, true}) {
        for (const bool masked : {false, true}) {
          const Tensor s = scaled ? activation({shape[shape.size() - 1]}, 3, parameter) : Tensor();
          const Tensor mask = masked ? activation({shape[0]}, 4, parameter) : Tensor();
          Tensor moments;
          const Tensor y = tested().residual(x, branch, s, mask, &moments);
          check_same(y, tested().residual(x, branch, s, mask));
          check_norm(y, moments, 2);
        }
      }
    }
  }
}

TEST_CASE("moments of the end of a residual branch") {
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
        Tensor moments;
        const LinearBranch branch{.weight = weight, .bias = bias, .input = f, .mask = mask};
        const Tensor y = b.linear_residual(base, x, branch, &moments);
        check_same(y, b.linear_residual(base, x, branch));
        check_norm(y, moments, 2);
      }
    }
  }
}

TEST_CASE("moments that a kernel cannot find, and moments of something else") {
  const Shape shape{2, 6, 5, 16};
  const Tensor branch = activation(shape, 2);
  // A pack of 16 bytes does not fit these inputs, but would fit the sum.
  const Tensor odd =
      activation({2 * 6 * 5 * 16 + 1}, 13).slice(0, 1, 2 * 6 * 5 * 16 + 1).reshape(shape);
  Tensor moments;
  const Tensor y = tested().residual(odd, branch, {}, {}, &moments);
  check_norm(y, moments, moments.defined() ? 2 : 3);
  tested().residual(branch, branch, {}, {}, &moments);
  check_norm(branch.reshape({60, 16}), {}, 3);
  CHECK_THROWS_AS(norm(activation({2, 6, 5, 8}, 3), moments), Error);
}

TEST_CASE("moments in a capture") {
  Backend& b = tested();
  const Shape shape{2, 7, 9, 16};
  Tensor x = activation(shape, 1);
  const Tensor branch = activation(shape, 2);
  const Tensor gamma = parameter_of(x, 11), beta = parameter_of(x, 12);
  NormResult inside;
  const auto capture = b.capture([&] {
    Tensor moments;
    const Tensor y = b.residual(x, branch, {}, {}, &moments);
    CHECK(passes(x.nbytes(), [&] { inside = b.batch_norm(y, gamma, beta, 1e-5, moments); }) == 2);
  });
  for (const std::uint64_t seed : {3, 4}) {
    x.copy_(activation(shape, seed));
    capture->replay();
    const NormResult want = norm(b.residual(x, branch, {}, {}), {});
    check_same(inside.y, want.y);
    check_same(inside.mean, want.mean);
    check_same(inside.rstd, want.rstd);
  }
}

TEST_CASE("moments: blocks of MSCAN use them in training, and evaluation asks for none") {
  Block first(16, 4, 0, EncoderConfig()), second(16, 4, 0, EncoderConfig());
  init_parameters(first, 1);
  init_parameters(second, 2);
  first.to(test_device());
  second.to(test_device());
  const Variable x(activation({2, 8, 8, 16}, 1));
  CHECK(passes(x.value().nbytes(), [&] { second(first(x)).value(); }) == 3 + 2 + 2 + 2);
  // Of what is recomputed, too, from one block to the next.
  const auto through = [](const Block& block, const Variable& in) {
    return recomputed([&](const std::vector<Variable>& v) { return block(v.front()); }, {in});
  };
  CHECK(passes(x.value().nbytes(), [&] { through(second, through(first, x)).value(); }) ==
        3 + 2 + 2 + 2);
  first.train(false);
  second.train(false);
  const Profile profile;
  second(first(x)).value();
  CHECK_FALSE(profile.ops().contains("batch_norm"));
}
