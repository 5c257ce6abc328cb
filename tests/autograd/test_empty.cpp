// Tensors without elements: an empty batch, no channels, nothing to sum over.
#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/conv.h"
#include "autograd/fused.h"
#include "autograd/loss.h"
#include "autograd/matmul.h"
#include "autograd/norm.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

namespace {

struct Case {
  const char* name;
  std::vector<Shape> inputs;
  Fn fn;
  Shape result;
};

const Window kSame{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};

const std::vector<Case> kCases = {
    {"matmul of an empty batch and one",
     {{1, 2, 3}, {0, 3, 4}},
     [](In v) { return matmul(v[0], v[1]); },
     {0, 2, 4}},
    {"matmul of one and an empty batch",
     {{0, 2, 3}, {1, 3, 4}},
     [](In v) { return matmul(v[0], v[1]); },
     {0, 2, 4}},
    {"matmul, transposed",
     {{1, 3, 2}, {0, 4, 3}},
     [](In v) { return matmul(v[0], v[1], true, true); },
     {0, 2, 4}},
    {"matmul over nothing", {{2, 0}, {0, 4}}, [](In v) { return matmul(v[0], v[1]); }, {2, 4}},
    {"matmul without rows", {{0, 3}, {3, 4}}, [](In v) { return matmul(v[0], v[1]); }, {0, 4}},
    {"matmul without columns", {{2, 3}, {3, 0}}, [](In v) { return matmul(v[0], v[1]); }, {2, 0}},
    {"add", {{0, 3}, {1, 3}}, [](In v) { return v[0] + v[1]; }, {0, 3}},
    {"multiply", {{2, 0}, {2, 1}}, [](In v) { return v[0] * v[1]; }, {2, 0}},
    {"divide", {{2, 0}, {1}}, [](In v) { return v[0] / v[1]; }, {2, 0}},
    {"gelu", {{0, 3}}, [](In v) { return gelu(v[0]); }, {0, 3}},
    {"sum", {{0, 3}}, [](In v) { return sum(v[0], {0}); }, {3}},
    {"sum over rows of nothing", {{3, 0}}, [](In v) { return sum(v[0], {0}); }, {0}},
    {"sum of the rest", {{0, 3}}, [](In v) { return sum(v[0], {1}); }, {0}},
    {"softmax", {{0, 3}}, [](In v) { return softmax(v[0]); }, {0, 3}},
    {"softmax over nothing", {{3, 0}}, [](In v) { return softmax(v[0]); }, {3, 0}},
    {"linear", {{0, 3}, {2, 3}, {2}}, [](In v) { return linear(v[0], v[1], v[2]); }, {0, 2}},
    {"linear from nothing",
     {{4, 0}, {2, 0}},
     [](In v) { return linear(v[0], v[1], {}, Activation::gelu); },
     {4, 2}},
    {"linear to nothing", {{4, 3}, {0, 3}}, [](In v) { return linear(v[0], v[1]); }, {4, 0}},
    {"linear_residual",
     {{0, 2, 2}, {0, 2, 3}, {2, 3}, {2}, {2}},
     [](In v) { return linear_residual(v[0], v[1], v[2], v[3], Activation::gelu, v[4]); },
     {0, 2, 2}},
    {"linear_residual with a mask",
     {{0, 2, 2}, {0, 2, 3}, {2, 3}, {2}, {2}},
     [](In v) {
       return linear_residual(v[0], v[1], v[2], v[3], {}, v[4],
                              Tensor::zeros({0}, v[0].dtype(), test_device()));
     },
     {0, 2, 2}},
    {"linear_residual to nothing",
     {{4, 0}, {4, 3}, {0, 3}, {0}},
     [](In v) { return linear_residual(v[0], v[1], v[2], v[3]); },
     {4, 0}},
    {"conv2d",
     {{0, 5, 4, 3}, {2, 3, 3, 3}, {2}},
     [](In v) { return conv2d(v[0], v[1], v[2], kSame); },
     {0, 5, 4, 2}},
    {"conv2d to nothing",
     {{1, 5, 4, 3}, {0, 3, 3, 3}},
     [](In v) { return conv2d(v[0], v[1], {}, kSame); },
     {1, 5, 4, 0}},
    {"conv2d from nothing",
     {{1, 5, 4, 0}, {2, 3, 3, 0}},
     [](In v) { return conv2d(v[0], v[1], {}, kSame); },
     {1, 5, 4, 2}},
    {"depthwise_conv2d",
     {{0, 5, 4, 3}, {3, 3, 3}, {3}, {0, 5, 4, 3}},
     [](In v) { return depthwise_conv2d(v[0], v[1], v[2], kSame, v[3]); },
     {0, 5, 4, 3}},
    {"depthwise_conv2d of no channels",
     {{2, 5, 4, 0}, {3, 3, 0}},
     [](In v) { return depthwise_conv2d(v[0], v[1], {}, kSame); },
     {2, 5, 4, 0}},
    {"attention of an empty batch",
     {{0, 3, 4}, {0, 5, 4}, {0, 5, 6}},
     [](In v) { return attention(v[0], v[1], v[2], 2); },
     {0, 3, 6}},
    {"attention without queries",
     {{2, 0, 4}, {2, 5, 4}, {2, 5, 6}},
     [](In v) { return attention(v[0], v[1], v[2], 2); },
     {2, 0, 6}},
    {"attention without keys",
     {{2, 3, 4}, {2, 0, 4}, {2, 0, 6}},
     [](In v) { return attention(v[0], v[1], v[2], 2); },
     {2, 3, 6}},
    {"attention to nothing",
     {{2, 3, 4}, {2, 5, 4}, {2, 5, 0}},
     [](In v) { return attention(v[0], v[1], v[2], 2); },
     {2, 3, 0}},
    {"strips",
     {{0, 5, 4, 3}, {1, 3, 3}, {3}, {3, 1, 3}, {3}},
     [](In v) {
       return strips(v[0], {{v[1], v[2], v[3], v[4]}});
     },
     {0, 5, 4, 3}},
    {"strips of no channels",
     {{2, 5, 4, 0}, {1, 3, 0}, {3, 1, 0}},
     [](In v) {
       return strips(v[0], {{v[1], {}, v[2], {}}});
     },
     {2, 5, 4, 0}},
    {"residual",
     {{0, 2, 3}, {0, 2, 3}, {3}},
     [](In v) { return residual(v[0], v[1], v[2]); },
     {0, 2, 3}},
    {"residual with a mask",
     {{0, 2, 3}, {0, 2, 3}, {3}},
     [](In v) {
       return residual(v[0], v[1], v[2], Tensor::zeros({0}, v[0].dtype(), test_device()));
     },
     {0, 2, 3}},
    {"residual of no channels",
     {{2, 2, 0}, {2, 2, 0}, {0}},
     [](In v) {
       return residual(v[0], v[1], v[2], Tensor::zeros({2}, v[0].dtype(), test_device()));
     },
     {2, 2, 0}},
    {"gate", {{0, 3}, {0, 3}}, [](In v) { return v[0] * v[1]; }, {0, 3}},
    {"reshape",
     {{0, 4}},
     [](In v) {
       return reshape(v[0], {-1, 2});
     },
     {0, 2}},
    {"slice", {{2, 4}}, [](In v) { return slice(v[0], 1, 2, 2); }, {2, 0}},
    {"permute",
     {{0, 4}},
     [](In v) {
       return permute(v[0], {1, 0});
     },
     {4, 0}},
    {"expand",
     {{1, 4}},
     [](In v) {
       return expand(v[0], {0, 4});
     },
     {0, 4}},
    {"gather",
     {{3, 4}},
     [](In v) {
       return gather(v[0], 1, Tensor::zeros({3, 0}, DType::i64, test_device()));
     },
     {3, 0}},
};

}  // namespace

TEST_CASE("empty tensors: results and gradients have their shapes, and what has elements is 0") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const Case& c : kCases) {
      CAPTURE(std::string(c.name));
      std::vector<Variable> in;
      for (const Shape& shape : c.inputs) in.emplace_back(normal(shape, 1, dtype), true);
      const Variable y = c.fn(in);
      REQUIRE(y.shape() == c.result);
      for (const double v : y.value().to_vector<double>()) CHECK(v == 0);
      y.backward(normal(y.shape(), 2, dtype));
      for (const Variable& v : in) {
        if (!v.grad().defined()) continue;
        CHECK(v.grad().shape() == v.shape());
        for (const double g : v.grad().to_vector<double>()) CHECK(g == 0);
      }
    }
  }
}

TEST_CASE("empty tensors: what has no answer is refused") {
  const Variable none = leaf({0, 4}, 1), image = leaf({0, 4, 4, 3}, 2), c = leaf({4}, 3);
  const Tensor labels = Tensor::zeros({0}, DType::i32, test_device());
  CHECK_THROWS_AS(argmax(none.value(), 0), Error);
  CHECK_THROWS_AS(batch_norm(none, c, c, 1e-5), Error);
  CHECK_THROWS_AS(layer_norm(none, c, c, 1e-5), Error);
  CHECK_THROWS_AS(group_norm(none, c, c, 2, 1e-5), Error);
  CHECK_THROWS_AS(resize(image, 8, 8), Error);
  CHECK_THROWS_AS(cross_entropy(none, labels), Error);
  CHECK_THROWS_AS(soft_cross_entropy(none, none.value()), Error);
  CHECK_THROWS_AS(conv2d(leaf({1, 0, 4, 3}, 1), leaf({2, 3, 3, 3}, 2)), Error);
}
