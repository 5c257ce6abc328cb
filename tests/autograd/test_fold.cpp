// What autograd/fold.cpp multiplies into weights where nothing records, against the ops one by one.
#include "autograd/arithmetic.h"
#include "autograd/matmul.h"
#include "autograd/norm.h"
#include "tests/autograd/fuse_check.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// Running means and variances.
std::pair<Tensor, Tensor>& statistics() {
  const auto of = [](const std::vector<double>& v) { return Tensor::from(v, {4}, test_device()); };
  static std::pair<Tensor, Tensor> all(of({0.5, -0.25, 1, 0}), of({0.5, 1.5, 0.75, 2}));
  return all;
}

// What a batch norm in evaluation, or a layer scale, is folded into where nothing records.
std::vector<Case> folded_cases() {
  const auto norm = [](Variable x, In v) {  // v: ..., gamma, beta
    const std::size_t n = v.size();
    const auto& [mean, variance] = statistics();
    return batch_norm_eval(std::move(x), v[n - 2], v[n - 1], mean, variance, 1e-2);
  };
  const Variable x = leaf(kImage, 1), w = leaf({4, 4}, 3), b = leaf({4}, 4), s = leaf({4}, 5);
  const Variable k = leaf({4, 3, 3, 4}, 6), taps = leaf({3, 3, 4}, 7), w2 = leaf({4, 4}, 8);
  const Variable g = leaf({4}, 9), beta = leaf({4}, 10), y = leaf(kImage, 11);
  const Window window{.stride_h = 2, .pad_h = 1, .pad_w = 1};
  return {
      {"norm of a linear layer",
       [=](In v) { return norm(linear(v[0], v[1], v[2]), v); },
       {x, w, b, g, beta},
       "linear",
       {"channel_affine"}},
      {"norm of a linear layer without a bias, activated",
       [=](In v) { return gelu(norm(linear(v[0], v[1]), v)); },
       {x, w, g, beta},
       "linear",
       {"channel_affine", "gelu"}},
      {"linear layer of a norm",
       [=](In v) { return linear(norm(v[0], v), v[1], v[2]); },
       {x, w, b, g, beta},
       "linear",
       {"channel_affine"}},
      {"two linear layers of a norm, one without a bias",
       [=](In v) {
         const Variable n = norm(v[0], v);
         return relu(linear(n, v[1], v[2])) + linear(n, v[1]);
       },
       {x, w, b, g, beta},
       "linear_residual",
       {"channel_affine", "relu"}},
      {"norm of a convolution",
       [=](In v) { return norm(conv2d(v[0], v[1], v[2], window), v); },
       {x, k, b, g, beta},
       "conv2d",
       {"channel_affine"}},
      {"norm of a convolution without a bias",
       [=](In v) { return norm(conv2d(v[0], v[1], {}, window), v); },
       {x, k, g, beta},
       "conv2d",
       {"channel_affine"}},
      {"norm on both sides",
       [=](In v) { return norm(linear(norm(v[0], v), v[1], v[2]), v); },
       {x, w, b, g, beta},
       "linear",
       {"channel_affine"}},
      {"SegNeXt's attention: the norm is the branch's own shortcut, too",
       [=](In v) {
         const Variable n = norm(v[0], v);
         return v[0] + v[3] * (n + linear(gelu(depthwise(linear(n, v[1], v[2]), v[4])), v[1]));
       },
       {x, w, b, s, taps, g, beta},
       "linear_residual",
       {"channel_affine", "residual"}},
      {"the same without a layer scale",
       [=](In v) { return v[0] + (norm(v[0], v) + linear(gelu(v[1]), v[2])); },
       {x, y, w, g, beta},
       "linear_residual",
       {"gelu"}},
      {"a shortcut from elsewhere",
       [=](In v) { return v[1] + v[3] * (norm(v[0], v) + linear(v[1], v[2])); },
       {x, y, w, s, g, beta},
       "linear_residual",
       {"linear"}},
      {"feed forward",
       [=](In v) {
         const Variable h = linear(norm(v[0], v), v[1], v[2]);
         return v[0] + v[3] * linear(gelu(depthwise(h, v[4])), v[5]);
       },
       {x, w, b, s, taps, w2, g, beta},
       "feed_forward",
       {"channel_affine", "mul"}},
      {"a gate",
       [=](In v) { return linear(norm(v[0], v), v[2], v[3]) * v[1]; },
       {x, y, w, b, g, beta},
       "linear_gate",
       {"mul", "linear", "channel_affine"}},
      {"norm of something else",
       [=](In v) { return norm(gelu(v[0]), v) + v[1]; },
       {x, y, g, beta},
       "channel_affine",
       {}},
  };
}

}  // namespace

TEST_CASE("norms in evaluation go into the weights beside them, and keep up with every change") {
  for (const Case& c : folded_cases()) {
    CAPTURE(c.what);
    // Recorded, and in the first run of recomputed(), they are ops of their own.
    require_op(c.fn, c.inputs);
    require_same(c.fn, one_by_one(c.fn), c.inputs);
    require_same(second_run(c.fn), one_by_one(c.fn), c.inputs);
    const NoGrad off;
    std::vector<Variable> own;
    for (const Variable& v : c.inputs) own.emplace_back(v.value().clone());
    const auto differ = [&] {
      return difference(c.fn(own).value(), one_by_one(c.fn)(own).value());
    };
    CHECK(differ() < 1e-12);
    const Calls calls = ops_of([&] { return c.fn(own); });
    CHECK(calls.contains(c.fused));
    for (const char* op : c.instead) {
      CAPTURE(op);
      CHECK_FALSE(calls.contains(op));
    }
    CHECK(c.fn(own).value().to_vector<double>() == c.fn(own).value().to_vector<double>());
    // One of what it is made of after another is written to.
    std::vector<Tensor> parts = {statistics().first, statistics().second};
    for (const Variable& v : own) parts.push_back(v.value());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      CAPTURE(i);
      parts[i].add_(parts[i], 0.25);
      CHECK(differ() < 1e-12);
    }
  }
}
