// Every tensor that a backward reads is watched: changed in place in between, it is refused.
#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/conv.h"
#include "autograd/fused.h"
#include "autograd/loss.h"
#include "autograd/matmul.h"
#include "autograd/nmf.h"
#include "autograd/norm.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

namespace {

// An op on the tensors `given`, those of floating dtype being variables with gradients.
struct Op {
  const char* name;
  std::vector<Tensor> given;
  Fn fn;
  std::vector<std::size_t> read = {};      // which of them the backward reads
  std::vector<std::size_t> constant = {};  // those that are tensors without a gradient
};

std::vector<Variable> variables(const Op& op, const std::vector<Tensor>& tensors) {
  std::vector<Variable> in;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const bool constant = std::find(op.constant.begin(), op.constant.end(), i) != op.constant.end();
    in.emplace_back(tensors[i], !constant && is_floating(tensors[i].dtype()));
  }
  return in;
}

std::vector<Tensor> clones(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> copies;
  for (const Tensor& t : tensors) copies.push_back(t.clone());
  return copies;
}

// The gradients of all inputs after input i (the output itself, if there is no such) was rewritten
// between forward and backward. Throws what the backward throws.
std::vector<Tensor> gradients(const Op& op, std::size_t changed, bool change) {
  std::vector<Tensor> tensors = clones(op.given);
  const std::vector<Variable> in = variables(op, tensors);
  const Variable y = op.fn(in);
  Tensor victim = changed < tensors.size() ? tensors[changed] : y.value();
  if (change) victim.fill_(is_floating(victim.dtype()) ? 0.3 : 1);
  y.backward(normal(y.shape(), 99));
  std::vector<Tensor> all;
  for (const Variable& v : in)
    if (v.requires_grad()) all.push_back(v.grad());
  return all;
}

bool same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].defined() != b[i].defined()) return false;
    if (a[i].defined() && a[i].to_vector<double>() != b[i].to_vector<double>()) return false;
  }
  return a.size() == b.size();
}

template <class T>
Tensor of(const std::vector<T>& values, const Shape& shape) {
  return Tensor::from(values, shape, test_device());
}

std::vector<Op> all_ops() {
  const auto n = [](const Shape& shape, std::uint32_t use) { return normal(shape, use); };
  const Tensor x = n({3, 4}, 1), y = n({3, 4}, 2), row = n({4}, 3);
  const Tensor positive = exp(Variable(x)).value(), image = n({2, 5, 6, 4}, 4);
  const Tensor like = n({2, 5, 6, 4}, 5), c = n({4}, 6), var = exp(Variable(c)).value();
  const Tensor mask = of<double>({0, 2}, {2}), labels = of<std::int32_t>({0, 3, 2}, {3});
  const Tensor maps = of(std::vector<std::int32_t>(2 * 9 * 7, 2), {2, 9, 7});
  const Tensor weights = of<double>({1, 0.5, 2, 3}, {4});
  const Tensor index = of<std::int64_t>({0, 3, 2, 2, 1, 0}, {3, 2});
  const Window window{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  return {
      {"add", {x, row}, [](In v) { return v[0] + v[1]; }},
      {"subtract", {x, row}, [](In v) { return v[0] - v[1]; }},
      {"multiply", {x, row}, [](In v) { return v[0] * v[1]; }, {0, 1}},
      {"divide", {x, row}, [](In v) { return v[0] / v[1]; }, {1, 2}},
      {"add_scalar", {x}, [](In v) { return v[0] + 2.0; }},
      {"multiply_scalar", {x}, [](In v) { return v[0] * 2.0; }},
      {"negate", {x}, [](In v) { return -v[0]; }},
      {"exp", {x}, [](In v) { return exp(v[0]); }, {1}},
      {"log", {positive}, [](In v) { return log(v[0]); }, {0}},
      {"sqrt", {positive}, [](In v) { return sqrt(v[0]); }, {1}},
      {"rsqrt", {positive}, [](In v) { return rsqrt(v[0]); }, {1}},
      {"square", {x}, [](In v) { return square(v[0]); }, {0}},
      {"clamp_min", {x}, [](In v) { return clamp_min(v[0], 0.1); }, {0}},
      {"relu", {x}, [](In v) { return relu(v[0]); }, {1}},
      {"gelu", {x}, [](In v) { return gelu(v[0]); }, {0}},
      {"sigmoid", {x}, [](In v) { return sigmoid(v[0]); }, {1}},
      {"silu", {x}, [](In v) { return silu(v[0]); }, {0}},
      {"hardswish", {x}, [](In v) { return hardswish(v[0]); }, {0}},
      {"tanh", {x}, [](In v) { return tanh(v[0]); }, {1}},
      {"sum", {x}, [](In v) { return sum(v[0], {1}); }},
      {"mean", {x}, [](In v) { return mean(v[0], {1}); }},
      {"softmax", {x}, [](In v) { return softmax(v[0]); }, {1}},
      {"log_softmax", {x}, [](In v) { return log_softmax(v[0]); }, {1}},
      {"matmul", {n({3, 4}, 7), n({4, 2}, 8)}, [](In v) { return matmul(v[0], v[1]); }, {0, 1}},
      {"linear",
       {x, n({2, 4}, 8), n({2}, 9)},
       [](In v) { return linear(v[0], v[1], v[2]); },
       {0, 1}},
      {"linear relu",
       {x, n({2, 4}, 8), n({2}, 9)},
       [](In v) { return linear(v[0], v[1], v[2], Activation::relu); },
       {0, 1, 3}},
      {"linear gelu",
       {x, n({2, 4}, 8), n({2}, 9)},
       [](In v) { return linear(v[0], v[1], v[2], Activation::gelu); },
       {0, 1}},
      {"linear_residual",
       {n({2, 3, 2}, 7), n({2, 3, 4}, 8), n({2, 4}, 9), n({2}, 10), n({2}, 11), mask},
       [](In v) {
         return linear_residual(v[0], v[1], v[2], v[3], Activation::gelu, v[4], v[5].value());
       },
       {1, 2, 3, 4, 5},
       {5}},
      {"linear_residual with more in the branch",
       {n({2, 3, 2}, 7), n({2, 3, 4}, 8), n({2, 4}, 9), n({2}, 10), n({2, 3, 2}, 11), n({2}, 12)},
       [](In v) {
         return linear_residual(v[0], v[1], v[2], v[3], Activation::none, v[5], {}, nullptr, v[4]);
       },
       {1, 2, 3, 4, 5}},
      {"nmf",
       {exp(Variable(n({2, 5, 4}, 7))).value(), exp(Variable(n({2, 4, 2}, 8))).value()},
       [](In v) { return nmf(v[0], v[1].value(), {.steps = 2}, false); },
       {0},
       {1}},
      {"conv2d",
       {image, n({3, 3, 3, 4}, 7), n({3}, 8)},
       [=](In v) { return conv2d(v[0], v[1], v[2], window); },
       {0, 1}},
      {"depthwise_conv2d",
       {image, n({3, 3, 4}, 7), n({4}, 8), like},
       [=](In v) { return depthwise_conv2d(v[0], v[1], v[2], window, v[3]); },
       {0, 1}},
      {"attention",
       {n({2, 3, 4}, 7), n({2, 5, 4}, 8), n({2, 5, 6}, 9)},
       [](In v) { return attention(v[0], v[1], v[2], 2); },
       {0, 1, 2, 3}},
      {"strips",
       {image, n({1, 3, 4}, 7), n({4}, 8), n({3, 1, 4}, 9), n({4}, 10)},
       [](In v) {
         return strips(v[0], {{v[1], v[2], v[3], v[4]}});
       },
       {0, 1, 2, 3, 4}},
      {"batch_norm",
       {image, c, row},
       [](In v) { return batch_norm(v[0], v[1], v[2], 1e-5); },
       {0, 1}},
      {"batch_norm_eval",
       {image, c, row, n({4}, 7), var},
       [](In v) { return batch_norm_eval(v[0], v[1], v[2], v[3].value(), v[4].value(), 1e-5); },
       {0, 3},
       {3, 4}},
      {"layer_norm",
       {image, c, row},
       [](In v) { return layer_norm(v[0], v[1], v[2], 1e-5); },
       {0, 1}},
      {"group_norm",
       {image, c, row},
       [](In v) { return group_norm(v[0], v[1], v[2], 2, 1e-5); },
       {0, 1}},
      {"residual",
       {image, like, c, mask},
       [](In v) { return residual(v[0], v[1], v[2], v[3].value()); },
       {1, 2, 3},
       {3}},
      {"gate", {image, like}, [](In v) { return v[0] * v[1]; }, {0, 1}},
      {"apply_mask", {x, y}, [](In v) { return apply_mask(v[0], v[1].value()); }, {1}, {1}},
      {"resize", {image}, [](In v) { return resize(v[0], 9, 7); }},
      {"reshape", {x}, [](In v) { return reshape(v[0], {12}); }},
      {"slice", {x}, [](In v) { return slice(v[0], 0, 1, 3); }},
      {"permute",
       {x},
       [](In v) {
         return permute(v[0], {1, 0});
       }},
      {"transpose", {x}, [](In v) { return transpose(v[0], 0, 1); }},
      {"expand",
       {row},
       [](In v) {
         return expand(v[0], {3, 4});
       }},
      {"concat",
       {x, y},
       [](In v) {
         return concat({v[0], v[1]}, 0);
       }},
      {"gather", {x, index}, [](In v) { return gather(v[0], 1, v[1].value()); }, {1}},
      {"cross_entropy",
       {x, labels, weights},
       [](In v) { return cross_entropy(v[0], v[1].value(), {}, v[2].value()); },
       {0, 1, 2},
       {2}},
      {"upsample_cross_entropy",
       {image, maps, weights},
       [](In v) { return upsample_cross_entropy(v[0], v[1].value(), {}, v[2].value()); },
       {0, 1, 2},
       {2}},
      {"soft_cross_entropy",
       {x, softmax(Variable(y)).value()},
       [](In v) { return soft_cross_entropy(v[0], v[1].value()); },
       {1},
       {1}},
      {"recomputed",
       {x, y},
       [](In v) { return recomputed([w = v[1]](In in) { return in[0] * w; }, {v[0]}); },
       {0, 1}},
  };
}

}  // namespace

TEST_CASE("a value that is made again notices a change of what it is made from") {
  const Variable x = leaf({2, 3}, 1), other = leaf({2, 3}, 2);
  enum class Change { none, input, value };
  const auto run = [&](Change change) {
    const Variable a(x.value().clone(), true), made = gelu(a);
    const Variable y = made * other;
    y.value();
    Tensor victim = change == Change::input ? a.value() : made.value();
    if (change != Change::none) victim.fill_(0.5);
    y.backward(normal({2, 3}, 3));
    return a.grad();
  };
  CHECK_THROWS_WITH_AS(run(Change::input), doctest::Contains("changed in place"), Error);
  CHECK(difference(run(Change::value), run(Change::none)) == 0);  // nobody has kept it
}

TEST_CASE("statistics that a batch norm hands out are those its backward reads") {
  for (const bool first : {true, false}) {
    Tensor mean, rstd;
    Alone everyone;
    const Variable y =
        sync_batch_norm(leaf({5, 3}, 1), leaf({3}, 2), leaf({3}, 3), 1e-5, everyone, 5,
                        Tensor::zeros({3}, DType::f64, test_device()), &mean, &rstd);
    (first ? mean : rstd).fill_(0.5);
    CHECK_THROWS_WITH_AS(y.backward(normal({5, 3}, 4)), doctest::Contains("changed in place"),
                         Error);
  }
}

TEST_CASE("what a backward reads must not be changed before it; what it does not read may be") {
  for (const Op& op : all_ops()) {
    CAPTURE(std::string(op.name));
    const std::vector<Tensor> right = gradients(op, 0, false);
    for (std::size_t i = 0; i <= op.given.size(); ++i) {
      CAPTURE(i);
      const bool read = std::find(op.read.begin(), op.read.end(), i) != op.read.end();
      if (read) {
        CHECK_THROWS_WITH_AS(gradients(op, i, true), doctest::Contains("changed in place"), Error);
        continue;
      }
      // Refusing more than needed is allowed (an op may keep what only some gradients want), a
      // wrong gradient is not.
      try {
        const std::vector<Tensor> got = gradients(op, i, true);
        CHECK(same(got, right));
      } catch (const Error& e) {
        CHECK(std::string(e.what()).find("changed in place") != std::string::npos);
      }
    }
  }
}
