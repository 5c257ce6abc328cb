// Every rule of autograd/fuse.cpp against the same ops one by one (NoFusion): value and gradients,
// in f64 and f32, recomputed or kept, recorded or not; and that it is the rule
// which was taken, by the ops that ran.
#include "autograd/arithmetic.h"
#include "autograd/conv.h"
#include "autograd/fuse.h"
#include "autograd/fused.h"
#include "autograd/matmul.h"
#include "autograd/norm.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "tests/autograd/fuse_check.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// Fused and not: the same numbers, everywhere.
void require_rule(const Fn& fn, const std::vector<Variable>& inputs) {
  require_same(fn, one_by_one(fn), inputs);
  require_same(second_run(fn), one_by_one(fn), inputs);
  require_op(fn, inputs);
  require_f32_like_f64(second_run(fn), inputs);
  const NoGrad off;
  CHECK(difference(fn(inputs).value(), one_by_one(fn)(inputs).value()) < 1e-12);
}

Tensor drop_mask() {
  return Tensor::from(std::vector<double>{0, 1.25}, {2}, test_device());
}
Tensor mask_like(const Variable& x) {
  return drop_mask().to(parameter_dtype(x.dtype()));
}

std::vector<Case> cases() {
  const Variable x = leaf(kImage, 1), y = leaf(kImage, 2), w = leaf({4, 4}, 3), b = leaf({4}, 4);
  const Variable s = leaf({4}, 5), taps = leaf({3, 3, 4}, 6), w2 = leaf({4, 4}, 7);
  const std::vector<Variable> strip = {leaf(kImage, 8), leaf({1, 5, 4}, 9), leaf({4}, 10),
                                       leaf({5, 1, 4}, 11), leaf({4}, 12)};
  const std::vector<Variable> two = {
      strip[0], strip[1], strip[2], strip[3], strip[4], leaf({1, 3, 4}, 13), leaf({3, 1, 4}, 14)};
  return {
      {"product of joined maps",
       [](In v) {
         return linear(join_resized({v[0], v[1], v[2]}, 5, 6), v[3], v[4]);
       },
       {x, leaf({2, 3, 3, 2}, 15), leaf({2, 2, 1, 3}, 16), leaf({4, 9}, 17), b},
       "linear_residual",
       {}},
      {"product of joined maps, the full size last",
       [](In v) {
         return relu(linear(join_resized({v[1], v[2], v[0]}, 5, 6), v[3]));
       },
       {x, leaf({2, 3, 3, 2}, 15), leaf({2, 2, 1, 3}, 16), leaf({4, 9}, 17)},
       "linear_residual",
       {}},
      {"activation of a linear layer",
       [](In v) { return gelu(linear(v[0], v[1], v[2])); },
       {x, w, b},
       "linear",
       {"gelu"}},
      {"ReLU of a linear layer",
       [](In v) { return relu(linear(v[0], v[1])); },
       {x, w},
       "linear",
       {"relu"}},
      {"branch",
       [](In v) { return v[0] + linear(v[1], v[2], v[3]); },
       {x, y, w, b},
       "linear_residual",
       {"linear", "add"}},
      {"branch first",
       [](In v) { return linear(v[1], v[2], v[3]) + v[0]; },
       {x, y, w, b},
       "linear_residual",
       {"linear", "add"}},
      {"branch with an activation",
       [](In v) { return v[0] + linear(gelu(v[1]), v[2], v[3]); },
       {x, y, w, b},
       "linear_residual",
       {"gelu", "linear", "add"}},
      {"layer scale",
       [](In v) { return v[0] + v[4] * linear(v[1], v[2], v[3]); },
       {x, y, w, b, s},
       "linear_residual",
       {"linear", "add"}},
      {"drop path",
       [](In v) { return v[0] + scale_images(linear(v[1], v[2], v[3]), mask_like(v[0])); },
       {x, y, w, b},
       "linear_residual",
       {"linear", "add"}},
      {"drop path of layer scale",
       [](In v) {
         return v[0] + scale_images(v[4] * linear(relu(v[1]), v[2], v[3]), mask_like(v[0]));
       },
       {x, y, w, b, s},
       "linear_residual",
       {"relu", "linear", "add"}},
      {"layer scale of drop path",
       [](In v) { return v[0] + scale_images(linear(v[1], v[2]), mask_like(v[0])) * v[3]; },
       {x, y, w, s},
       "linear_residual",
       {"linear", "add"}},
      {"scale of a sum with a branch",
       [](In v) {
         return v[0] + scale_images(v[4] * (v[1] + linear(v[1], v[2], v[3])), mask_like(v[0]));
       },
       {x, y, w, b, s},
       "linear_residual",
       {"linear", "add"}},
      {"scale of anything",
       [](In v) { return v[0] + v[2] * gelu(v[1]); },
       {x, y, s},
       "residual",
       {"add"}},
      {"scale twice",
       [](In v) { return v[0] + v[2] * (v[3] * gelu(v[1])); },
       {x, y, s, leaf({4}, 15)},
       "residual",
       {"add"}},
      {"drop path of anything",
       [](In v) { return v[0] + scale_images(gelu(v[1]), mask_like(v[0])); },
       {x, y},
       "residual",
       {"add"}},
      {"depth-wise branch",
       [](In v) { return v[0] + depthwise(v[1], v[2], v[3]); },
       {x, y, taps, b},
       "depthwise_3x3",
       {"add"}},
      {"a strip",
       [](In v) { return v[0] + depthwise(depthwise(v[0], v[1], v[2]), v[3], v[4]); },
       strip,
       "strips",
       {"depthwise_1x5", "depthwise_5x1", "add"}},
      {"two strips",
       [](In v) {
         return v[0] + depthwise(depthwise(v[0], v[1], v[2]), v[3], v[4]) +
                depthwise(depthwise(v[0], v[5]), v[6]);
       },
       two,
       "strips",
       {"depthwise_1x5", "depthwise_3x1", "add"}},
      {"strips of something uncooked",
       [](In v) {
         const Variable local = gelu(v[0]);
         return local + depthwise(depthwise(local, v[1], v[2]), v[3], v[4]);
       },
       strip,
       "strips",
       {"depthwise_1x5", "add"}},
      {"no rule",
       [](In v) { return scale_images(v[2] * linear(v[0], v[1]), mask_like(v[0])); },
       {x, w, s},
       "linear",
       {"linear_residual"}},
      {"a whole branch, recorded",
       [](In v) { return v[0] + v[3] * linear(gelu(depthwise(linear(v[0], v[1]), v[2])), v[4]); },
       {x, w, taps, s, w2},
       "linear_residual",
       {"gelu", "add"}},
  };
}

}  // namespace

TEST_CASE("every rule equals the ops one by one, and is taken") {
  for (const Case& c : cases()) {
    CAPTURE(c.what);
    require_rule(c.fn, c.inputs);
    const Calls calls = ops_of([&] { return c.fn(c.inputs); });
    CHECK(calls.contains(c.fused));
    for (const char* op : c.instead) {
      CAPTURE(op);
      CHECK_FALSE(calls.contains(op));
    }
    const Calls single = ops_of([&] { return one_by_one(c.fn)(c.inputs); });
    for (const char* op : c.instead)
      if (std::string(op) != "linear_residual") CHECK(single.contains(op));
  }
}

TEST_CASE("a whole branch without gradients is one op, but not in the first run of recomputed()") {
  const Variable x = leaf({2, 9, 7, 8}, 1), in = leaf({16, 8}, 2), b1 = leaf({16}, 3);
  const Variable taps = leaf({3, 3, 16}, 4), b2 = leaf({16}, 5), out = leaf({8, 16}, 6);
  const Variable s = leaf({8}, 7);
  const Fn branch = [](In v) {
    return v[0] + v[6] * linear(gelu(depthwise(linear(v[0], v[1], v[2]), v[3], v[4])), v[5]);
  };
  const std::vector<Variable> all = {x, in, b1, taps, b2, out, s};
  Tensor fused;
  {
    const NoGrad off;
    CHECK(ops_of([&] {
            return fused = branch(all).value(), Variable(fused);
          }).contains("feed_forward"));
  }
  CHECK(difference(fused, one_by_one(branch)(all).value()) < 1e-12);
  CHECK_FALSE(ops_of([&] { return branch(all); }).contains("feed_forward"));
  CHECK_FALSE(ops_of([&] { return recomputed(branch, all); }).contains("feed_forward"));
  // Bit by bit what is recorded, when it is computed after that run has ended, too.
  CHECK(recomputed(branch, all).value().to_vector<double>() ==
        branch(all).value().to_vector<double>());
  std::vector<Variable> frozen;
  for (const Variable& v : all) frozen.emplace_back(v.value());
  CHECK(ops_of([&] { return branch(frozen); }).contains("feed_forward"));
}

TEST_CASE("a branch whose backward does well without its hidden maps is one op in training, too") {
  const auto value = [](const Shape& shape, std::uint32_t use) {
    return Variable(normal(shape, use, DType::f32), true);
  };
  const std::vector<Variable> all = {
      value({2, 64, 65, 32}, 1), value({256, 32}, 2), value({256}, 3), value({3, 3, 256}, 4),
      value({256}, 5),           value({32, 256}, 6), value({32}, 7)};
  const Fn branch = [](In v) {
    return v[0] +
           scale_images(v[6] * linear(gelu(depthwise(linear(v[0], v[1], v[2]), v[3], v[4])), v[5]),
                        mask_like(v[0]));
  };
  const bool trains = all[0].backend().trains_feed_forward(
      all[0].value(), {all[1].value(), {}, all[3].value(), {}, all[5].value(), {}});
  CHECK(ops_of([&] { return branch(all); }).contains("feed_forward") == trains);
  CHECK(ops_of([&] { return recomputed(branch, all); }).contains("feed_forward") == trains);
  const auto gradients = [&](const Fn& fn) {
    std::vector<Variable> fresh;
    for (const Variable& v : all) fresh.emplace_back(v.value(), true);
    const Variable y = fn(fresh);
    y.backward(normal(y.shape(), 8, DType::f32));
    std::vector<Tensor> result = {y.value()};
    for (const Variable& v : fresh) result.push_back(v.grad());
    return result;
  };
  const std::vector<Tensor> fused = gradients(branch), again = gradients(second_run(branch)),
                            parts = gradients(one_by_one(branch));
  for (std::size_t i = 0; i < fused.size(); ++i) {
    CAPTURE(i);
    CHECK(fused[i].to_vector<float>() == again[i].to_vector<float>());
    const auto got = fused[i].to_vector<double>(), want = parts[i].to_vector<double>();
    double worst = 0, size = 0;
    for (std::size_t k = 0; k < want.size(); ++k) {
      worst = std::max(worst, std::abs(got[k] - want[k]));
      size = std::max(size, std::abs(want[k]));
    }
    CHECK(worst < 1e-5 * size);
  }
}

TEST_CASE("windows that keep no size are no strips, and other maps are other branches") {
  const Variable x = leaf(kImage, 1), other = leaf(kImage, 2), row = leaf({1, 5, 4}, 3);
  const Variable column = leaf({5, 1, 4}, 4), short_column = leaf({3, 1, 4}, 5);
  const auto fused = [&](const Fn& fn) {
    const std::vector<Variable> all = {x, other, row, column, short_column};
    CHECK(difference(fn(all).value(), one_by_one(fn)(all).value()) < 1e-12);
    return ops_of([&] { return fn(all); }).contains("strips");
  };
  CHECK(fused([](In v) { return v[0] + depthwise(depthwise(v[0], v[2]), v[3]); }));
  CHECK_FALSE(fused([](In v) { return v[0] + depthwise(depthwise(v[0], v[2]), v[4]); }));
  CHECK_FALSE(fused([](In v) { return v[0] + depthwise(depthwise(v[0], v[3]), v[2]); }));
  CHECK_FALSE(fused([](In v) { return v[0] + depthwise(depthwise(v[1], v[2]), v[3]); }));
  CHECK_FALSE(fused([](In v) { return v[0] + depthwise(v[1], v[2]) + depthwise(v[0], v[2]); }));
  CHECK_FALSE(fused([](In v) {
    const Window wide{.pad_w = 4, .dilation_w = 2};
    return v[0] + depthwise(depthwise_conv2d(v[0], v[2], {}, wide), v[3]);
  }));
}

TEST_CASE("a value that two ops share is computed once") {
  const Variable x = leaf(kImage, 1), w = leaf({4, 4}, 2), s = leaf({4}, 3);
  const Variable taps = leaf({3, 3, 4}, 4), row = leaf({1, 3, 4}, 5), column = leaf({3, 1, 4}, 6);
  SUBCASE("held by a name") {
    const Calls calls = ops_of([&] {
      const Variable h = linear(x, w), y = gelu(h), z = x + h;
      y.value();
      z.value();
      return h * y;
    });
    CHECK(calls.at("linear") == 1);
    CHECK(calls.at("gelu") == 1);
    CHECK_FALSE(calls.contains("linear_residual"));
  }
  SUBCASE("held by two recipes") {
    const Calls calls = ops_of([&] {
      const Variable a = gelu(depthwise(x, taps));
      Variable sum = x + linear(a, w);
      sum = sum + s * linear(a, w);
      return sum;
    });
    CHECK(calls.at("gelu") == 1);
    CHECK(calls.at("depthwise_3x3") == 1);
    CHECK(calls.at("linear_residual") == 2);
  }
  SUBCASE("a row of a strip") {
    const Variable r = depthwise(x, row);
    const Variable y = x + depthwise(r, column);
    CHECK(ops_of([&] { return y; }).count("strips") == 0);
    CHECK(ops_of([&] { return r; }).empty());  // y has computed it
  }
  SUBCASE("asked for twice") {
    const Variable y = x + linear(x, w);
    const Calls calls = ops_of([&] { return y.value(), y.value(), y.detach(); });
    CHECK(calls == Calls{{"linear_residual", 1}});
    CHECK(y.detach().value().shares_storage(y.value()));
  }
}

TEST_CASE("inputs of a recipe that are changed in place or replaced are noticed") {
  const auto changed = doctest::Contains("changed in place");
  for (const Case& c : cases()) {
    CAPTURE(c.what);
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      CAPTURE(i);
      const auto copies = [&] {
        std::vector<Variable> own;
        for (const Variable& v : c.inputs) own.emplace_back(v.value().clone(), true);
        return own;
      };
      const std::vector<Variable> now = copies();
      const Variable late = c.fn(now);
      Tensor value = now[i].value();
      value.fill_(3);
      CHECK_THROWS_WITH_AS(late.value(), changed, Error);
      const std::vector<Variable> other = copies();
      const Variable replaced = c.fn(other);
      other[i].set_value(value.clone());
      CHECK_THROWS_WITH_AS(replaced.value(), changed, Error);
    }
  }
  const Variable x = leaf(kImage, 1), w = leaf({4, 4}, 2);
  Tensor mask = mask_like(x);
  const Variable dropped = x + scale_images(linear(x, w), mask), alone = scale_images(x, mask);
  mask.fill_(1);
  CHECK_THROWS_WITH_AS(dropped.value(), changed, Error);
  CHECK_THROWS_WITH_AS(alone.value(), changed, Error);
  const Variable h = linear(x, w), y = gelu(h);
  Tensor inner = h.value();
  inner.fill_(1);
  CHECK_THROWS_WITH_AS(y.value(), changed, Error);
}

TEST_CASE("what is recorded is decided where an op is called, not where its value is asked for") {
  const Variable x = leaf(kImage, 1), w = leaf({4, 4}, 2), b = leaf({4}, 3);
  Variable outside, inside, mixed;
  {
    const NoGrad off;
    inside = x + linear(x, w, b);
    mixed = linear(x, w, b);
  }
  CHECK_FALSE(inside.requires_grad());
  inside.value();
  CHECK_FALSE(inside.requires_grad());
  outside = x + linear(x, w, b);
  CHECK(outside.requires_grad());
  {
    const NoGrad off;
    outside.value();
  }
  sum(outside).backward();
  CHECK(w.grad().defined());
  // A constant branch stays one though its parameters need gradients elsewhere.
  const Variable v = leaf({4, 4}, 2);
  const Variable held = std::move(mixed);
  sum(leaf(kImage, 5) + held).backward();
  {
    Variable branch;
    {
      const NoGrad off;
      branch = linear(x, v, b);
    }
    sum(leaf(kImage, 5) + std::move(branch)).backward();
  }
  CHECK_FALSE(v.grad().defined());
}

TEST_CASE("shape errors come at once and name the op") {
  const Variable x = leaf(kImage, 1), w = leaf({4, 3}, 2), taps = leaf({9, 9, 4}, 3);
  CHECK_THROWS_WITH_AS(linear(x, w), doctest::Contains("linear: input"), Error);
  CHECK_THROWS_WITH_AS(depthwise_conv2d(x, taps), doctest::Contains("depthwise_conv2d: a 9x9"),
                       Error);
  CHECK_THROWS_WITH_AS(x + leaf({2, 5, 6, 3}, 4),
                       doctest::Contains("add: shapes [2,5,6,4] and [2,5,6,3]"), Error);
  CHECK_THROWS_WITH_AS(gelu(Variable(Tensor::zeros({2}, DType::i64))), doctest::Contains("gelu"),
                       Error);
  CHECK_THROWS_WITH_AS(scale_images(x, Tensor::zeros({3}, DType::f64, test_device())),
                       doctest::Contains("scale_images"), Error);
  CHECK_THROWS_WITH_AS(x * leaf({3}, 4), doctest::Contains("mul: shapes"), Error);
  CHECK_THROWS_AS(x + Variable(), Error);
  CHECK_THROWS_AS(x * Variable(), Error);
}

TEST_CASE("a long chain of sums neither waits forever nor recurses") {
  const Variable x(Tensor::full({3, 2}, 1, DType::f64, test_device()), true);
  Variable total = x;
  for (int i = 1; i < 100000; ++i) total = total + x;
  CHECK(total.value().to_vector<double>()[5] == 100000);
  Variable few = x * 1.0;
  for (int i = 0; i < 500; ++i) few = few + x;
  sum(few).backward();
  CHECK(x.grad().to_vector<double>()[0] == 501);
}

TEST_CASE("gradients of inner values, detached and undefined ones") {
  const Variable x = leaf(kImage, 1), w = leaf({4, 4}, 2);
  const Variable h = linear(x, w);
  h.retain_grad();
  CHECK_FALSE(h.grad().defined());
  const Variable y = gelu(h);
  sum(y).backward();
  CHECK(h.grad().shape() == kImage);
  CHECK_FALSE(gelu(linear(x, w)).detach().requires_grad());
  CHECK_THROWS_AS(linear(x, w).set_value(x.value()), Error);
  CHECK_FALSE(linear(x, w).grad().defined());
  CHECK_THROWS_AS(gelu(Variable()), Error);
}

TEST_CASE("moments are asked for by the batch norm that reads the sum first") {
  const Variable x = leaf(kImage, 1), w = leaf({4, 4}, 2), g = leaf({4}, 3), b = leaf({4}, 4);
  const Fn block = [](In v) {
    const Variable y = v[0] + v[2] * linear(v[0], v[1]);
    const Variable z = batch_norm(y, v[2], v[3], 1e-5);
    return y + gelu(z);
  };
  require_rule(block, {x, w, g, b});
  // They are handed on to the next.
  const Fn chain = [&](In v) {
    return recomputed(block, {recomputed(block, v), v[1], v[2], v[3]});
  };
  require_same(chain, [&](In v) { return block({block(v), v[1], v[2], v[3]}); }, {x, w, g, b});
}

TEST_CASE("an encoder block of another kind gets the same fusions for nothing") {
  // A block of SegFormer's after its attention (Xie et al. 2021), and one of ConvNeXt (Liu et al.
  // 2022): neither says a word of fusion.
  const Variable x = leaf({1, 8, 8, 8}, 1), g = leaf({8}, 2), b = leaf({8}, 3);
  const Variable wide = leaf({16, 8}, 4), taps = leaf({3, 3, 16}, 5), back = leaf({8, 16}, 6);
  const Variable large = leaf({7, 7, 8}, 7), s = leaf({8}, 8);
  const Fn mix_ffn = [](In v) {
    const Variable h = layer_norm(v[0], v[1], v[2], 1e-6);
    return v[0] + linear(gelu(depthwise(linear(h, v[3]), v[4])), v[5]);
  };
  const Fn convnext = [](In v) {
    const Variable h = layer_norm(depthwise(v[0], v[4]), v[1], v[2], 1e-6);
    return v[0] + v[6] * linear(gelu(linear(h, v[3])), v[5]);
  };
  const std::vector<Variable> all = {x, g, b, wide, taps, back},
                              next = {x, g, b, wide, large, back, s};
  require_rule(mix_ffn, all);
  require_rule(convnext, next);
  CHECK(ops_of([&] { return mix_ffn(all); }) ==
        Calls{{"layer_norm", 1}, {"linear", 1}, {"depthwise_3x3", 1}, {"linear_residual", 1}});
  const NoGrad off;
  CHECK(ops_of([&] { return mix_ffn(all); }) == Calls{{"layer_norm", 1}, {"feed_forward", 1}});
  CHECK_FALSE(ops_of([&] { return convnext(next); }).contains("add"));
}
