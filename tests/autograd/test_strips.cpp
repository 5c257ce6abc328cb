// Multi-scale strips: gradchecks, and the fused op against its composition of convolutions.
#include "autograd/arithmetic.h"
#include "autograd/conv.h"
#include "autograd/fused.h"
#include "tensor/threads.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

namespace {

// Parameters of strips of the given sizes after x, four each; `biased` false leaves biases out.
std::vector<Variable> inputs(const Variable& x, const std::vector<int>& sizes, bool biased) {
  std::vector<Variable> in = {x};
  const std::int64_t c = x.dim(3);
  std::uint32_t use = 20;
  for (const int k : sizes) {
    in.push_back(leaf({1, k, c}, use++));
    if (biased) in.push_back(leaf({c}, use++));
    in.push_back(leaf({k, 1, c}, use++));
    if (biased) in.push_back(leaf({c}, use++));
  }
  return in;
}

std::vector<StripVariables> strips_of(In in, bool biased) {
  std::vector<StripVariables> all;
  for (std::size_t i = 1; i < in.size(); i += biased ? 4 : 2)
    all.push_back(biased ? StripVariables{in[i], in[i + 1], in[i + 2], in[i + 3]}
                         : StripVariables{in[i], {}, in[i + 1], {}});
  return all;
}

Variable fused(In in, bool biased) {
  return strips(in[0], strips_of(in, biased));
}

Variable composed(In in, bool biased) {
  Variable y = in[0];
  for (const StripVariables& s : strips_of(in, biased)) {
    const int pad = static_cast<int>(s.row.dim(1)) / 2;
    const Variable r = depthwise_conv2d(in[0], s.row, s.row_bias, {.pad_w = pad});
    y = depthwise_conv2d(r, s.column, s.column_bias, {.pad_h = pad}, y);
  }
  return y;
}

std::vector<Variable> in_dtype(In in, DType dtype) {
  std::vector<Variable> out;
  for (const Variable& v : in) out.emplace_back(v.value().to(dtype), true);
  return out;
}

// Values and gradients of the fused op in `dtype` against the composition in f64.
void require_same(In in, bool biased, DType dtype, double tolerance) {
  const auto a = in_dtype(in_dtype(in, dtype), dtype),
             b = in_dtype(in_dtype(in, dtype), DType::f64);
  const Variable y = fused(a, biased), z = composed(b, biased);
  CHECK(difference(y.value(), z.value()) < tolerance);
  const Tensor seed = normal(y.shape(), 99, dtype);
  y.backward(seed);
  z.backward(seed.to(DType::f64));
  for (std::size_t i = 0; i < a.size(); ++i)
    CHECK(difference(a[i].grad(), b[i].grad()) < tolerance * 20);
}

}  // namespace

TEST_CASE("strips: gradients") {
  const auto check = [](const Variable& x, const std::vector<int>& sizes, bool biased) {
    require_gradcheck([=](In in) { return fused(in, biased); }, inputs(x, sizes, biased));
  };
  check(strided_leaf({2, 4, 5, 3}, 1), {3, 5}, true);
  check(leaf({1, 3, 2, 2}, 2), {7, 11, 21}, true);  // longer than the image
  check(leaf({1, 6, 11, 1}, 3), {7}, false);
  check(leaf({1, 1, 1, 9}, 4), {1, 5}, true);
  check(strided_leaf({1, 5, 4, 8}, 5), {3, 7}, true);  // a whole cache line, for the CPU's kernel
}

TEST_CASE("strips are their composition of depth-wise convolutions") {
  const std::vector<Shape> shapes = {{1, 1, 1, 1},    {2, 5, 7, 3},    {1, 1, 40, 16},
                                     {1, 40, 1, 17},  {2, 33, 37, 16}, {1, 70, 19, 40},
                                     {1, 30, 70, 48}, {1, 9, 150, 8},  {1, 25, 260, 5}};
  for (const Shape& shape : shapes)
    for (const bool biased : {true, false}) {
      CAPTURE(shape.str());
      const auto in = inputs(leaf(shape, 5), {7, 11, 21}, biased);
      require_same(in, biased, DType::f64, 1e-12);
      require_same(in, biased, DType::f32, 1e-4);
    }
  require_same(inputs(leaf({1, 12, 13, 6}, 6), {1, 3, 9, 15, 33}, true), true, DType::f64, 1e-12);
  require_same(inputs(leaf({1, 2, 3, 4}, 7), {}, true), true, DType::f64, 1e-15);
}

TEST_CASE("strips do not depend on the number of threads") {
  for (const std::int64_t channels : {40, 48}) {  // composed, and whole cache lines
    const auto in = in_dtype(inputs(leaf({2, 70, 45, channels}, 8), {7, 11, 21}, true), DType::f32);
    std::vector<std::vector<double>> first;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const auto again = in_dtype(in, DType::f32);
      const Variable y = fused(again, true);
      y.backward(normal(y.shape(), 99, DType::f32));
      std::vector<std::vector<double>> all = {y.value().to_vector<double>()};
      for (const Variable& v : again) all.push_back(v.grad().to_vector<double>());
      if (first.empty()) first = all;
      CHECK(all == first);
    }
  }
  set_num_threads(0);
}

TEST_CASE("strips want odd kernels that fit the channels, and say so") {
  const Variable x = leaf({1, 4, 4, 3}, 1);
  const auto with = [&](const Shape& row, const Shape& column, const Shape& bias) {
    return strips(x, {{leaf(row, 2), leaf(bias, 3), leaf(column, 4), {}}});
  };
  CHECK_NOTHROW(with({1, 3, 3}, {3, 1, 3}, {3}));
  CHECK_THROWS_AS(with({1, 4, 3}, {4, 1, 3}, {3}), Error);
  CHECK_THROWS_AS(with({1, 3, 3}, {5, 1, 3}, {3}), Error);
  CHECK_THROWS_AS(with({1, 3, 4}, {3, 1, 4}, {3}), Error);
  CHECK_THROWS_AS(with({3, 1, 3}, {1, 3, 3}, {3}), Error);
  CHECK_THROWS_AS(with({1, 3, 3}, {3, 1, 3}, {4}), Error);
  CHECK_THROWS_AS(strips(leaf({4, 4, 3}, 1), {}), Error);
}
