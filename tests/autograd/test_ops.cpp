// Gradchecks of arithmetic, activations, shapes, reductions and matrix products.
#include "autograd/arithmetic.h"
#include "autograd/conv.h"
#include "autograd/fused.h"
#include "autograd/matmul.h"
#include "autograd/nmf.h"
#include "autograd/norm.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "tensor/ops.h"
#include "tensor/profile.h"
#include "tensor/threads.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

TEST_CASE("arithmetic with broadcasting") {
  const Variable a = leaf({2, 3, 5}, 1), b = strided_leaf({3, 1}, 2), c = leaf({}, 3);
  const Variable positive(Tensor::full({1, 5}, 2.0, DType::f64, test_device()), true);
  require_op([](In in) { return in[0] + in[1]; }, {a, b});
  require_op([](In in) { return in[0] - in[1]; }, {b, a});
  require_op([](In in) { return in[0] * in[1]; }, {a, b});
  require_op([](In in) { return in[0] / in[1]; }, {a, positive});
  require_op([](In in) { return (in[0] * in[1] + 2.0) / 3.0 - in[1]; }, {a, c});
  CHECK_THROWS_AS(a + leaf({4}, 4), Error);
  CHECK_THROWS_AS(a + Variable(normal({5}, 4, DType::f32)), Error);
}

TEST_CASE("elementwise functions") {
  const Variable x = strided_leaf({3, 7}, 5);
  const Variable positive(exp(leaf({3, 7}, 6).detach()).value(), true);
  require_op([](In in) { return exp(in[0]); }, {x});
  require_op([](In in) { return log(in[0]); }, {positive});
  require_op([](In in) { return sqrt(in[0]); }, {positive});
  require_op([](In in) { return rsqrt(in[0]); }, {positive});
  require_op([](In in) { return square(in[0]); }, {x});
  require_op([](In in) { return clamp_min(in[0], 0.1); }, {x});
  require_op([](In in) { return -in[0]; }, {x});
}

TEST_CASE("activations") {
  for (const Shape& shape : {Shape{1}, Shape{3, 37}, Shape{2, 3, 4, 5}}) {
    const Variable x = strided_leaf(shape, 7);
    require_op([](In in) { return relu(in[0]); }, {x});
    require_op([](In in) { return gelu(in[0]); }, {x});
    require_op([](In in) { return sigmoid(in[0]); }, {x});
    require_op([](In in) { return silu(in[0]); }, {x});
    require_op([](In in) { return hardswish(in[0] * 2.0); }, {x});
    require_op([](In in) { return tanh(in[0]); }, {x});
    require_op([](In in) { return softplus(in[0]); }, {x});
    require_op([](In in) { return leaky_relu(in[0], 0.1); }, {x});
    require_op([](In in) { return elu(in[0], 1.5); }, {x});
  }
}

TEST_CASE("views, concatenation, gathering") {
  const Variable x = leaf({2, 3, 4}, 8);
  require_op([](In in) { return reshape(in[0], {4, -1}); }, {x});
  require_op([](In in) { return slice(in[0], 1, 1, 3); }, {x});
  require_op([](In in) { return slice(in[0], -1, 0, 4, 3); }, {x});
  require_op([](In in) { return permute(in[0], {2, 0, 1}); }, {x});
  require_op([](In in) { return reshape(transpose(in[0], 0, 2), {-1}); }, {x});
  require_op([](In in) { return expand(in[0], {5, 2, 3, 4}); }, {x});
  require_op([](In in) { return concat({in[0], in[1], in[0]}, 1); }, {x, leaf({2, 1, 4}, 9)});
  const Tensor index =
      Tensor::from(std::vector<std::int64_t>{0, 2, 2, 1, 0, 0, 1, 1}, {2, 1, 4}, test_device());
  require_op([&](In in) { return gather(in[0], 1, index); }, {x});
  const Tensor fewer = index.slice(0, 1, 2).slice(2, 0, 3);  // the index may leave elements out
  require_op([&](In in) { return gather(in[0], 1, fewer); }, {x});
  const Tensor wrong = Tensor::from(std::vector<std::int64_t>(8, 3), {2, 1, 4}, test_device());
  CHECK_THROWS_AS(sum(gather(x, 1, wrong)).item(), Error);  // a GPU says so when waited for
  CHECK_THROWS_AS(concat({x, leaf({2, 3, 5}, 9)}, 1), Error);
  CHECK_THROWS_AS(slice(x, 0, 1, 3), Error);
  CHECK_THROWS_AS(reshape(x, {5, -1}), Error);
}

TEST_CASE("reductions and softmax") {
  const Variable x = strided_leaf({3, 4, 5}, 10);
  for (const std::vector<int>& axes : std::vector<std::vector<int>>{{}, {0}, {1}, {-1}, {0, 2}}) {
    require_op([&](In in) { return sum(in[0], axes); }, {x});
    require_op([&](In in) { return mean(in[0], axes, true); }, {x});
  }
  require_op([](In in) { return softmax(in[0]); }, {x});
  require_op([](In in) { return softmax(in[0], 1); }, {x});
  require_op([](In in) { return log_softmax(in[0]); }, {x});
  require_op([](In in) { return log_softmax(in[0], 0); }, {x});
}

TEST_CASE("matrix products") {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      const auto product = [=](In in) { return matmul(in[0], in[1], ta, tb); };
      require_op(product, {strided_leaf(ta ? Shape{5, 3} : Shape{3, 5}, 11),
                           leaf(tb ? Shape{4, 5} : Shape{5, 4}, 12)});
      require_op(product, {leaf(ta ? Shape{2, 5, 3} : Shape{2, 3, 5}, 13),
                           strided_leaf(tb ? Shape{2, 4, 5} : Shape{2, 5, 4}, 14)});
      require_op(product, {leaf(ta ? Shape{2, 5, 3} : Shape{2, 3, 5}, 15),
                           leaf(tb ? Shape{4, 5} : Shape{5, 4}, 16)});
      require_op(product, {leaf(ta ? Shape{1, 5, 3} : Shape{1, 3, 5}, 17),
                           leaf(tb ? Shape{2, 4, 5} : Shape{2, 5, 4}, 18)});
    }
  CHECK_THROWS_AS(matmul(leaf({2, 3}, 1), leaf({2, 3}, 2)), Error);
}

TEST_CASE("linear layer with every activation, with and without bias") {
  const Variable x = strided_leaf({2, 3, 7}, 19), w = leaf({5, 7}, 20), b = leaf({5}, 21);
  for (const Activation a : {Activation::none, Activation::gelu, Activation::relu}) {
    require_op([=](In in) { return linear(in[0], in[1], in[2], a); }, {x, w, b});
    require_op([=](In in) { return linear(in[0], in[1], {}, a); }, {x, w});
  }
  const Variable composed = gelu(matmul(reshape(x, {6, 7}), w, false, true) + b);
  CHECK(difference(reshape(linear(x, w, b, Activation::gelu), {6, 5}).value(), composed.value()) <
        1e-12);
}

TEST_CASE("resize") {
  for (const Resize mode : {Resize::bilinear, Resize::bilinear_align_corners, Resize::nearest})
    for (const auto& [h, w] : std::vector<std::pair<int, int>>{{8, 10}, {3, 2}, {1, 1}, {7, 5}})
      require_op([=](In in) { return resize(in[0], h, w, mode); },
                 {strided_leaf({2, 4, 5, 3}, 23)});
  require_op([](In in) { return resize(in[0], 5, 3); }, {leaf({1, 1, 1, 2}, 24)});
}

TEST_CASE("the end of a residual branch equals its composition") {
  const Tensor mask = Tensor::from(std::vector<double>{0, 1.25, 2}, {3}, test_device());
  for (const auto& [rows, in, out] :
       std::vector<std::array<std::int64_t, 3>>{{1, 1, 1}, {5, 7, 3}, {4, 3, 19}}) {
    const Variable base = strided_leaf({3, rows, out}, 30), x = strided_leaf({3, rows, in}, 31);
    const Variable w = leaf({out, in}, 32), b = leaf({out}, 33), s = leaf({out}, 34);
    for (const Activation f : {Activation::none, Activation::gelu, Activation::relu}) {
      const auto activated = [f](const Variable& v) {
        return f == Activation::gelu ? gelu(v) : f == Activation::relu ? relu(v) : v;
      };
      const Fn fused = [&](In v) {
        return linear_residual(v[0], v[1], v[2], v[3], f, v[4], mask.to(v[0].dtype()));
      };
      const Fn composed = [&](In v) {
        return residual(v[0], linear(activated(v[1]), v[2], v[3]), v[4], mask.to(v[0].dtype()));
      };
      require_op(fused, {base, x, w, b, s});
      require_same(fused, composed, {base, x, w, b, s});
      require_same([&](In v) { return linear_residual(v[0], v[1], v[2], {}, f); },
                   [&](In v) { return v[0] + linear(activated(v[1]), v[2]); }, {base, x, w});
      require_op([&](In v) { return linear_residual(v[0], v[1], v[2], {}, f, v[3]); },
                 {base, x, w, s});
      // More in the branch than the product.
      const Variable extra = strided_leaf({3, rows, out}, 35);
      for (const bool drops : {false, true}) {
        const auto kept = [&](In v) { return drops ? mask.to(v[0].dtype()) : Tensor(); };
        const Fn more = [&](In v) {
          return linear_residual(v[0], v[1], v[2], v[3], f, v[4], kept(v), nullptr, v[5]);
        };
        require_op(more, {base, x, w, b, s, extra});
        require_same(more,
                     [&](In v) {
                       return residual(v[0], linear(activated(v[1]), v[2], v[3]) + v[5], v[4],
                                       kept(v));
                     },
                     {base, x, w, b, s, extra});
        require_op(
            [&](In v) {
              return linear_residual(v[0], v[1], v[2], {}, f, {}, kept(v), nullptr, v[3]);
            },
            {base, x, w, extra});
        // Of a constant scale, and of a constant weight.
        require_op(
            [&](In v) {
              return linear_residual(v[0], v[1], v[2], v[3], f, cast(s.detach(), v[0].dtype()),
                                     kept(v), nullptr, v[4]);
            },
            {base, x, w, b, extra});
        require_op(
            [&](In v) {
              return linear_residual(v[0], v[1], cast(w.detach(), v[0].dtype()), v[2], f, v[3],
                                     kept(v), nullptr, v[4]);
            },
            {base, x, b, s, extra});
      }
    }
  }
  CHECK_THROWS_AS(linear_residual(leaf({2, 3}, 1), leaf({2, 4}, 2), leaf({5, 4}, 3)), Error);
}

// Lee and Seung's updates op by op, as they are published.
namespace {
Variable published_nmf(const Variable& x, const Tensor& bases, const NmfOptions& o, bool one_step) {
  constexpr double kEps = 1e-6;
  const auto update_coef = [&](const Variable& at, const Variable& b, const Variable& c) {
    return c * matmul(at, b) / (matmul(c, matmul(b, b, true)) + kEps);
  };
  Variable b(bases), c;
  const Variable iterated = one_step ? x.detach() : x;
  c = softmax(matmul(iterated, b) * o.inv_t);
  for (int k = 0; k < o.steps; ++k) {
    c = update_coef(iterated, b, c);
    b = b * matmul(iterated, c, true) / (matmul(b, matmul(c, c, true)) + kEps);
  }
  return matmul(update_coef(x, b, c), b, false, true);
}
}  // namespace

TEST_CASE("matrix factorisation in one op equals its published form, and so do its gradients") {
  const auto positive = [](const Shape& shape, std::uint32_t use) {
    return exp(normal(shape, use)) * 0.3;
  };
  // Many points, few; more of them than a GPU's block has; ranks of one and of more than fits it.
  for (const auto& [batch, p, d, r] : std::vector<std::array<std::int64_t, 4>>{
           {2, 50, 6, 3}, {1, 1, 1, 1}, {1, 23, 300, 2}, {2, 7, 70, 66}, {3, 130, 9, 16}}) {
    for (const bool one_step : {false, true}) {
      for (const int steps : {0, 1, 3}) {
        CAPTURE(r);
        CAPTURE(steps);
        const Tensor bases = positive({batch, d, r}, 2);
        const NmfOptions o{.steps = steps, .inv_t = 0.7};
        const Variable x(positive({batch, p, d}, 1), true);
        require_same([&](In v) { return nmf(v[0], bases, o, one_step); },
                     [&](In v) { return published_nmf(v[0], bases, o, one_step); }, {x});
        if (p * d < 400 && r < 4)
          require_op([&](In v) { return nmf(v[0], bases.to(v[0].dtype()), o, false); }, {x});
      }
    }
  }
  // A second backward through a graph that was kept gives the same.
  const Variable x(positive({2, 30, 5}, 1), true);
  const Variable y = nmf(x, positive({2, 5, 3}, 2), {.steps = 2}, false);
  const Tensor seed = normal(y.shape(), 3);
  y.backward(seed, true);
  const Tensor first = x.grad().clone();
  y.backward(seed);
  CHECK(difference(x.grad(), first * 2.0) < 1e-13);
  CHECK_THROWS_AS(nmf(x, positive({2, 4, 3}, 2), {}, false), Error);
}

TEST_CASE("gradients that meet are added where the last is made") {
  const Variable x = leaf({2, 5, 6, 4}, 1), gamma = leaf({4}, 2), beta = leaf({4}, 3);
  const Variable w(normal({3, 4}, 4)), taps(normal({3, 3, 4}, 5));
  const Window window{.pad_h = 1, .pad_w = 1};
  // What is recorded later passes its gradient on first.
  const auto with_later = [](const Variable& y, const Variable& v) {
    const Variable first = sum(square(y));
    return first + sum(square(v));
  };
  const std::vector<Fn> all = {
      [&](In v) { return with_later(batch_norm(v[0], v[1], v[2], 1e-3), v[0]); },
      [&](In v) { return with_later(linear(v[0], w), v[0]); },
      [&](In v) { return with_later(linear(v[0], w, {}, Activation::gelu), v[0]); },
      [&](In v) { return with_later(depthwise_conv2d(v[0], taps, v[1], window), v[0]); }};
  for (const Fn& fn : all) {
    const Fn inner = [&](In v) { return fn({v[0] * 2.0, v[1], v[2]}); };
    require_gradcheck(inner, {x, gamma, beta}, 1e-5);
    const Variable y = inner(
        {Variable(x.value(), true), Variable(gamma.value(), true), Variable(beta.value(), true)});
    const Profile profile;
    y.backward();
    CHECK_FALSE(profile.ops().contains("axpy"));
  }
}

TEST_CASE("feed-forward in one pass equals its parts") {
  // Large enough for tiles, with odd edges; then narrow, and of channels that fill no vector.
  for (const auto& [n, h, w, c, hidden] : std::vector<std::array<std::int64_t, 5>>{
           {1, 67, 131, 8, 128}, {2, 41, 70, 5, 208}, {1, 3, 2, 4, 16}, {1, 5, 4, 3, 7}}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const auto value = [dtype](const Shape& shape, std::uint32_t use) {
        return Variable(normal(shape, use, dtype));
      };
      const Variable base = value({n, h, w, c}, 40), x = value({n, h, w, c}, 41);
      const FeedForwardVariables f{value({hidden, c}, 42),    value({hidden}, 43),
                                   value({3, 3, hidden}, 44), value({hidden}, 45),
                                   value({c, hidden}, 46),    value({c}, 47)};
      const Variable s = value({c}, 48);
      const auto in_parts = [&](const FeedForwardVariables& v, const Variable& scale) {
        const Window window{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
        const Variable mixed =
            depthwise_conv2d(linear(x, v.expand, v.expand_bias), v.taps, v.taps_bias, window);
        return linear_residual(base, mixed, v.contract, v.contract_bias, Activation::gelu, scale)
            .value();
      };
      const double tolerance = dtype == DType::f32 ? 1e-4 : 1e-12;
      const Tensor parts = in_parts(f, s);
      CHECK(difference(feed_forward(base, x, f, s).value(), parts) < tolerance);
      set_num_threads(3);
      const auto three = feed_forward(base, x, f, s).value().to_vector<double>();
      set_num_threads(1);
      CHECK(feed_forward(base, x, f, s).value().to_vector<double>() == three);
      set_num_threads(0);
      FeedForwardVariables bare = f;
      bare.expand_bias = bare.taps_bias = bare.contract_bias = Variable();
      CHECK(difference(feed_forward(base, x, bare).value(), in_parts(bare, {})) < tolerance);
    }
  }
  CHECK_THROWS_AS(feed_forward(leaf({1, 2, 2, 3}, 1).detach(), leaf({1, 2, 2, 4}, 1).detach(),
                               {leaf({8, 3}, 2).detach(),
                                {},
                                leaf({3, 3, 8}, 3).detach(),
                                {},
                                leaf({3, 8}, 4).detach(),
                                {}},
                               {}),
                  Error);
}

namespace {

// v: base, x, the weights and biases, the layer scale.
Variable in_one(In v, const Tensor& mask) {
  return feed_forward(v[0], v[1], {v[2], v[3], v[4], v[5], v[6], v[7]}, v[8], mask);
}
Variable in_parts(In v, const Tensor& mask) {
  const Window window{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  const Variable z = depthwise_conv2d(linear(v[1], v[2], v[3]), v[4], v[5], window);
  return linear_residual(v[0], z, v[6], v[7], Activation::gelu, v[8], mask);
}
std::vector<Variable> feed_forward_inputs(std::int64_t n, std::int64_t h, std::int64_t w,
                                          std::int64_t c, std::int64_t hidden, std::int64_t out) {
  return {leaf({n, h, w, out}, 1), leaf({n, h, w, c}, 2),   leaf({hidden, c}, 3),
          leaf({hidden}, 4),       leaf({3, 3, hidden}, 5), leaf({hidden}, 6),
          leaf({out, hidden}, 7),  leaf({out}, 8),          leaf({out}, 9)};
}

}  // namespace

TEST_CASE("feed-forward: gradients, by its parts and by tiles") {
  const Tensor mask = Tensor::from(std::vector<double>{0, 1.25}, {2}, test_device());
  const auto masked = [&](In v, bool has) {
    return has ? mask.to(parameter_dtype(v[0].dtype())) : Tensor();
  };
  for (const bool has : {false, true})
    require_op([&](In v) { return in_one(v, masked(v, has)); },
               feed_forward_inputs(2, 4, 3, 3, 7, 5));
  // Several tiles with odd edges in both directions, wide and narrow, more tiles than pieces.
  for (const auto& [n, h, w, c, hidden, out] : std::vector<std::array<std::int64_t, 6>>{
           {2, 67, 75, 32, 256, 64}, {1, 301, 33, 64, 128, 32}, {1, 9, 939, 32, 128, 32}}) {
    CAPTURE(h);
    std::vector<Variable> inputs = feed_forward_inputs(n, h, w, c, hidden, out);
    const auto one = [&, two = n == 2](In v) { return in_one(v, masked(v, two)); };
    const auto parts = [&, two = n == 2](In v) { return in_parts(v, masked(v, two)); };
    require_same(one, parts, inputs, 1e-9);
    const auto gradients = [&](int threads) {
      set_num_threads(threads);
      std::vector<Variable> fresh;
      for (const Variable& v : inputs) fresh.emplace_back(v.value().to(DType::f32), true);
      one(fresh).backward(normal(fresh[0].shape(), 10, DType::f32));
      set_num_threads(0);
      std::vector<std::vector<float>> all;
      for (const Variable& v : fresh) all.push_back(v.grad().to_vector<float>());
      return all;
    };
    CHECK(gradients(1) == gradients(3));
    const Tensor x = inputs[1].value();
    if (test_device().kind == Device::Kind::cpu &&
        std::getenv("NEXTGRAD_TEST_PRIMITIVES") == nullptr)
      CHECK(x.backend().trains_feed_forward(
          x, {inputs[2].value(), {}, inputs[4].value(), {}, inputs[6].value(), {}}));
  }
}

TEST_CASE("feed-forward without biases, whichever input wants a gradient") {
  const std::vector<Variable> inputs = feed_forward_inputs(1, 5, 4, 3, 7, 3);
  for (std::size_t wanted = 0; wanted < inputs.size(); ++wanted) {
    std::vector<Variable> some;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      some.emplace_back(inputs[i].value(), i == wanted);
    CAPTURE(wanted);
    require_same([](In v) { return in_one(v, {}); }, [](In v) { return in_parts(v, {}); }, some);
  }
  const std::vector<Variable> few = {inputs[0], inputs[1], inputs[2], inputs[4], inputs[6]};
  require_same(
      [](In v) {
        return in_one({v[0], v[1], v[2], {}, v[3], {}, v[4], {}, {}}, {});
      },
      [](In v) {
        return in_parts({v[0], v[1], v[2], {}, v[3], {}, v[4], {}, {}}, {});
      },
      few);
}

TEST_CASE("residual, gate and masks") {
  const Variable x = leaf({3, 2, 2, 5}, 25), y = strided_leaf({3, 2, 2, 5}, 26), s = leaf({5}, 27);
  const Tensor mask = Tensor::from(std::vector<double>{0, 2, 1.25}, {3}, test_device());
  const Fn with_mask = [&](In in) { return residual(in[0], in[1], in[2], mask.to(in[0].dtype())); };
  require_op(with_mask, {x, y, s});
  require_op([](In in) { return residual(in[0], in[1], in[2]); }, {x, y, s});
  require_op([](In in) { return residual(in[0], in[1]); }, {x, y});
  const Variable composed = x + y * s * Variable(mask.reshape({3, 1, 1, 1}));
  CHECK(difference(with_mask({x, y, s}).value(), composed.value()) < 1e-14);
  require_op([](In in) { return in[0] * in[1]; }, {x, y});
  require_op(
      [&](In in) {
        return apply_mask(in[0], mask.to(in[0].dtype()).reshape({3, 1, 1, 1}));
      },
      {x});
}
