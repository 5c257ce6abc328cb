// Optimisers against steps computed by hand, parameter groups, clipping, saved state.
#include <doctest/doctest.h>

#include <cmath>

#include "nn/optim.h"
#include "tests/device.h"

using namespace nextgrad;

namespace {

// As of a model whose head learns faster and whose norms do not decay; the first that matches.
std::vector<ParameterRule> rules_of(double head) {
  return {{.contains = "head", .lr_scale = head}, {.contains = "norm", .decay_scale = 0}};
}

Parameter make(const std::string& name, const std::vector<double>& values) {
  return {name,
          Variable(
              Tensor::from(values, {static_cast<std::int64_t>(values.size())}, test::test_device()),
              true),
          Layout::plain,
          {}};
}
void give(const Parameter& p, const std::vector<double>& grad) {
  Variable(p.value).set_grad(Tensor::from(grad, p.value.shape(), test::test_device()));
}
double first(const Parameter& p) {
  return p.value.value().to_vector<double>()[0];
}

}  // namespace

TEST_CASE("AdamW: three steps of the published algorithm") {
  const Parameter p = make("w", {1.5, -2});
  AdamW optimizer({p}, {.beta1 = 0.8, .beta2 = 0.9, .eps = 1e-3, .weight_decay = 0.1});
  double w = 1.5, m = 0, v = 0;
  const double grads[] = {0.5, -1.0, 0.25}, lrs[] = {0.1, 0.05, 0.2};
  for (int t = 1; t <= 3; ++t) {
    const double g = grads[t - 1], lr = lrs[t - 1];
    give(p, {g, 0});
    optimizer.step(lr);
    w -= lr * 0.1 * w;
    m = 0.8 * m + 0.2 * g;
    v = 0.9 * v + 0.1 * g * g;
    w -= lr * (m / (1 - std::pow(0.8, t))) / (std::sqrt(v / (1 - std::pow(0.9, t))) + 1e-3);
    CHECK(first(p) == doctest::Approx(w).epsilon(1e-12));
  }
  // No gradient, but decay: -2 (1 - 0.01)(1 - 0.005)(1 - 0.02).
  CHECK(p.value.value().to_vector<double>()[1] ==
        doctest::Approx(-2 * 0.99 * 0.995 * 0.98).epsilon(1e-12));
}

TEST_CASE("SGD: momentum and Nesterov") {
  for (const bool nesterov : {false, true}) {
    const Parameter p = make("w", {1});
    SGD optimizer({p}, {.momentum = 0.9, .weight_decay = 0.1, .nesterov = nesterov});
    double w = 1, buf = 0;
    for (int t = 0; t < 3; ++t) {
      give(p, {0.5 + t});
      optimizer.step(0.1);
      const double g = 0.5 + t + 0.1 * w;
      buf = t == 0 ? g : 0.9 * buf + g;
      w -= 0.1 * (nesterov ? g + 0.9 * buf : buf);
      CHECK(first(p) == doctest::Approx(w).epsilon(1e-12));
    }
  }
}

TEST_CASE("rules by name: the first that matches wins; a missing gradient leaves its parameter") {
  const std::vector<Parameter> ps{make("backbone.conv.weight", {1}),
                                  make("backbone.norm1.weight", {1}),
                                  make("decode_head.norm.weight", {1}),
                                  make("backbone.patch_embed1.proj.1.weight", {1}), make("x", {1})};
  AdamW optimizer(ps, {}, rules_of(10));
  const auto& slots = optimizer.slots();
  CHECK((slots[0].lr_scale == 1 && slots[0].decay_scale == 1));
  CHECK((slots[1].lr_scale == 1 && slots[1].decay_scale == 0));
  CHECK((slots[2].lr_scale == 10 && slots[2].decay_scale == 1));
  CHECK((slots[3].lr_scale == 1 && slots[3].decay_scale == 1));
  for (std::size_t i = 0; i < 4; ++i) give(ps[i], {0});
  optimizer.step(0.01);  // decay alone: lr * 0.01
  CHECK(first(ps[0]) == doctest::Approx(1 - 1e-4).epsilon(1e-12));
  CHECK(first(ps[1]) == 1);
  CHECK(first(ps[2]) == doctest::Approx(1 - 1e-3).epsilon(1e-12));
  CHECK(first(ps[4]) == 1);
  optimizer.zero_grad();
  CHECK_FALSE(ps[0].value.grad().defined());
  AdamW same(ps, {}, rules_of(1));
  CHECK(same.slots()[2].lr_scale == 1);
}

TEST_CASE("a saved state goes on exactly") {
  for (const bool adam : {true, false}) {
    const auto optimizer_of = [&](const std::vector<Parameter>& ps) -> std::unique_ptr<Optimizer> {
      if (adam) return std::make_unique<AdamW>(ps);
      return std::make_unique<SGD>(ps);
    };
    const auto a = std::vector<Parameter>{make("a", {1, 2}), make("b", {3})};
    const auto optimizer = optimizer_of(a);
    give(a[0], {0.1, -0.2});  // b has no gradient yet, and so no moments
    optimizer->step(0.1);
    const auto b = std::vector<Parameter>{make("a", a[0].value.value().to_vector<double>()),
                                          make("b", a[1].value.value().to_vector<double>())};
    const auto resumed = optimizer_of(b);
    resumed->load_state(optimizer->state());
    for (const auto* ps : {&a, &b}) {
      give((*ps)[0], {0.3, 0.7});
      give((*ps)[1], {-0.5});
    }
    optimizer->step(0.1);
    resumed->step(0.1);
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(a[i].value.value().to_vector<double>() == b[i].value.value().to_vector<double>());
    }
    const auto other = std::vector<Parameter>{make("a", {1, 2}), make("c", {3})};
    CHECK_THROWS_AS(optimizer_of(other)->load_state(optimizer->state()), InputError);
    const auto mis = std::vector<Parameter>{make("a", {1}), make("b", {3})};
    CHECK_THROWS_AS(optimizer_of(mis)->load_state(optimizer->state()), InputError);
    CHECK_THROWS_AS(optimizer_of({a[0]})->load_state(optimizer->state()), InputError);
    CHECK_THROWS_AS(optimizer->load_state({}), InputError);
  }
}

TEST_CASE("a step refused for its norm does not count: the next ones are as if it had not been") {
  for (const bool adam : {true, false}) {
    CAPTURE(adam);
    const auto optimizer_of = [&](const std::vector<Parameter>& ps) -> std::unique_ptr<Optimizer> {
      if (adam) return std::make_unique<AdamW>(ps);
      return std::make_unique<SGD>(ps);
    };
    const std::vector<Parameter> plain{make("a", {1, 2}), make("b", {3})};
    const std::vector<Parameter> tried{make("a", {1, 2}), make("b", {3})};
    const auto reference = optimizer_of(plain);
    auto optimizer = optimizer_of(tried);
    const auto step = [](Optimizer& o, const std::vector<Parameter>& ps, double g) {
      give(ps[0], {g, -g});
      o.step(0.1, {grad_norm(ps), 10});
    };
    const auto same = [&] {
      for (std::size_t i = 0; i < 2; ++i)
        CHECK(plain[i].value.value().to_vector<double>() ==
              tried[i].value.value().to_vector<double>());
      CHECK(reference->state().back().value.to_vector<std::int64_t>() ==
            optimizer->state().back().value.to_vector<std::int64_t>());
    };
    for (const double bad : {std::nan(""), HUGE_VAL}) step(*optimizer, tried, bad);
    same();
    for (const double g : {0.3, -0.7}) {
      step(*reference, plain, g);
      step(*optimizer, tried, g);
    }
    same();
    step(*optimizer, tried, std::nan(""));
    give(plain[1], {0.5});  // from now on b has gradients, too
    give(tried[1], {0.5});
    step(*optimizer, tried, HUGE_VAL);
    const auto resumed = optimizer_of(tried);
    resumed->load_state(optimizer->state());
    optimizer = nullptr;
    step(*reference, plain, 0.2);
    step(*resumed, tried, 0.2);
    for (std::size_t i = 0; i < 2; ++i)
      CHECK(plain[i].value.value().to_vector<double>() ==
            tried[i].value.value().to_vector<double>());
    CHECK(resumed->state().back().value.to_vector<std::int64_t>() ==
          std::vector<std::int64_t>{3, 1});
  }
  const std::vector<Parameter> ps{make("a", {1})};
  StateDict state = SGD(ps).state();
  state.back().value = Tensor::from(std::vector<std::int64_t>{-1}, {1});
  CHECK_THROWS_AS(SGD(ps).load_state(state), InputError);
}

TEST_CASE("gradient norm: measured, scaled, not finite, shared tensors") {
  const std::vector<Parameter> ps{make("a", {0, 0}), make("b", {0}), make("c", {0})};
  give(ps[0], {3, 0});
  give(ps[1], {4});
  CHECK(grad_norm(ps).item() == doctest::Approx(5));
  CHECK(ps[1].value.grad().item() == 4);
  scale_grads(ps, 0.2);
  CHECK(grad_norm(ps).item() == doctest::Approx(1));
  CHECK(ps[1].value.grad().item() == doctest::Approx(0.8));
  // Two parameters that hold one tensor as their gradient are scaled once each.
  const Tensor shared = Tensor::from(std::vector<double>{2}, {1}, test::test_device());
  Variable(ps[1].value).set_grad(shared);
  Variable(ps[2].value).set_grad(shared);
  scale_grads(ps, 0.5);
  CHECK(ps[1].value.grad().item() == 1);
  CHECK(ps[2].value.grad().item() == 1);
  CHECK(shared.item() == 2);
  give(ps[1], {INFINITY});
  CHECK(std::isinf(grad_norm(ps).item()));
}
