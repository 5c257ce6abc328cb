// The tape: what is recorded, freed, accumulated and refused.
#include "autograd/arithmetic.h"
#include "autograd/matmul.h"
#include "autograd/norm.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "tensor/profile.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE("gradients of a sum of losses add up, and backward accumulates") {
  const Variable x = leaf({3}, 1);
  const Variable a = sum(square(x)), b = sum(x * 3.0);
  (a + b).backward();
  const auto v = x.value().to_vector<double>(), g = x.grad().to_vector<double>();
  for (int i = 0; i < 3; ++i) CHECK(g[i] == doctest::Approx(2 * v[i] + 3));
  sum(x * 3.0).backward();
  const auto twice = x.grad().to_vector<double>();
  for (int i = 0; i < 3; ++i) CHECK(twice[i] == doctest::Approx(2 * v[i] + 6));
}

TEST_CASE("a variable used many times collects from every use") {
  const Variable x = leaf({2, 2}, 2);
  const Variable y = x * x + x * x + x;
  sum(y).backward();
  const auto v = x.value().to_vector<double>(), g = x.grad().to_vector<double>();
  for (std::size_t i = 0; i < 4; ++i) CHECK(g[i] == doctest::Approx(4 * v[i] + 1));
}

TEST_CASE("a second backward through a freed graph is refused, a retained one is not") {
  const Variable x = leaf({2}, 3);
  const Variable y = sum(exp(x));
  y.backward({}, true);
  const auto once = x.grad().to_vector<double>();
  y.backward();
  CHECK(x.grad().to_vector<double>()[0] == doctest::Approx(2 * once[0]));
  CHECK_THROWS_AS(y.backward(), Error);
  const auto kept = x.grad().to_vector<double>();
  CHECK(kept[0] == doctest::Approx(2 * once[0]));  // the refused one left nothing behind
}

TEST_CASE("an in-place change of a saved tensor is refused") {
  const Variable x = leaf({4}, 4);
  const Variable y = exp(x);
  const Variable z = sum(square(y));
  Tensor value = y.value();
  value.fill_(1);
  CHECK_THROWS_WITH_AS(z.backward(), doctest::Contains("changed in place"), Error);
  const Variable p = leaf({2, 2}, 5);
  const Variable q = sum(matmul(p, p));
  Tensor view = p.value().slice(0, 0, 1);  // a view shares the storage and its version
  view.fill_(0);
  CHECK_THROWS_AS(q.backward(), Error);
}

TEST_CASE("an in-place change nobody saved is harmless") {
  const Variable x = leaf({4}, 6);
  const Variable y = x + 1.0;
  const Variable z = sum(x * 2.0 + x);
  Tensor value = y.value();
  value.fill_(7);
  CHECK_NOTHROW(z.backward());
}

TEST_CASE("NoGrad records nothing and EnableGrad records inside it") {
  const Variable x = leaf({2}, 7);
  const NoGrad off;
  CHECK_FALSE((x * 2.0).requires_grad());
  {
    const EnableGrad on;
    CHECK((x * 2.0).requires_grad());
  }
  CHECK_FALSE((x * 2.0).requires_grad());
}

TEST_CASE("retain_grad keeps an inner gradient, detach cuts the graph") {
  const Variable x = leaf({2}, 8);
  const Variable y = x * 2.0;
  y.retain_grad();
  sum(square(y)).backward();
  CHECK(difference(y.grad(), (y.detach() * 2.0).value()) < 1e-12);
  CHECK_FALSE(y.detach().requires_grad());
}

TEST_CASE("backward wants a seed of the right shape") {
  const Variable x = leaf({2, 3}, 9);
  CHECK_THROWS_AS((x * 2.0).backward(), Error);
  CHECK_THROWS_AS((x * 2.0).backward(Tensor::zeros({3, 2}, DType::f64, test_device())), Error);
  CHECK_THROWS_AS(Variable(normal({1}, 1)).backward(), Error);
}

TEST_CASE("a graph of a hundred thousand nodes neither overflows the stack nor leaks") {
  const std::size_t before = backend_of(test_device()).memory().live;
  {
    const Variable x = leaf({1}, 10);
    Variable y = x;
    for (int i = 0; i < 100000; ++i) y = y + 1e-6;
    sum(y).backward();
    CHECK(x.grad().item() == doctest::Approx(1));
    Variable dropped = x;
    for (int i = 0; i < 100000; ++i) dropped = dropped + 1e-6;  // freed without a backward
  }
  CHECK(backend_of(test_device()).memory().live == before);
}

TEST_CASE("backward frees what was saved") {
  const Variable x = leaf({1000}, 11);
  const std::size_t before = backend_of(test_device()).memory().live;
  Variable y = x;
  for (int i = 0; i < 10; ++i) y = exp(y * 0.1);
  const std::size_t during = backend_of(test_device()).memory().live;
  const Variable loss = sum(y);
  y = Variable();
  loss.backward();
  CHECK(during >= before + 10 * 8000);
  CHECK(backend_of(test_device()).memory().live < before + 3 * 8192);
}

TEST_CASE("recomputed: same values and gradients, parameters outside its inputs included") {
  const Variable x = leaf({3, 4}, 12), w = leaf({4, 4}, 13);
  const Fn block = [&](const std::vector<Variable>& in) {
    return exp(matmul(in[0], w) * 0.1) * in[0];
  };
  sum(block({x})).backward();
  const Tensor dx = x.grad().clone(), dw = w.grad().clone();
  Variable x2(x.value(), true);
  Variable w2 = w;
  w2.zero_grad();
  const Variable y = recomputed(block, {x2});
  CHECK(difference(y.value(), block({x}).value()) == 0);
  sum(y).backward();
  CHECK(difference(x2.grad(), dx) == 0);
  CHECK(difference(w.grad(), dw) == 0);
  require_gradcheck([&](const std::vector<Variable>& in) { return recomputed(block, in); }, {x2});
}

TEST_CASE("recomputed: a parameter or a computed value used inside and outside") {
  // Gradients of x, w and v, h = v^2 computed outside, with `wrap` around each block.
  using Block = std::function<Variable(const std::vector<Variable>&)>;
  const auto run = [](bool recompute, bool retain) {
    const Variable x = leaf({3, 4}, 12), w = leaf({4, 4}, 13), v = leaf({4, 4}, 14);
    const auto call = [&](const Block& block, const Variable& in) {
      return recompute ? recomputed(block, {in}) : block({in});
    };
    const Variable h = square(v);
    const Block inner = [&](const std::vector<Variable>& in) { return matmul(in[0], w * h); };
    const Block block = [&](const std::vector<Variable>& in) {
      return call(inner, exp(matmul(in[0], h) * 0.1)) * in[0];
    };
    const Variable before = matmul(x, w * h);
    const Variable y = call(block, call(block, before)) + matmul(before, w) * 0.5;
    const Variable loss = sum(y) + sum(h * w);
    loss.backward({}, retain);
    if (retain) loss.backward();
    return std::vector<Tensor>{x.grad(), w.grad(), v.grad()};
  };
  for (const bool retain : {false, true}) {
    const auto plain = run(false, retain), again = run(true, retain);
    for (std::size_t i = 0; i < plain.size(); ++i) CHECK(difference(again[i], plain[i]) < 1e-12);
  }
}

TEST_CASE("recomputed: a function that returns what it was given, or a parameter") {
  const Variable x = leaf({2, 3}, 1), w = leaf({2, 3}, 2), twice = w * 2.0;
  const Tensor seed = normal({2, 3}, 3);
  recomputed([](const std::vector<Variable>& in) { return in[0]; }, {x}).backward(seed);
  CHECK(difference(x.grad(), seed) == 0);
  recomputed([&](const std::vector<Variable>&) { return w; }, {x}).backward(seed);
  CHECK(difference(w.grad(), seed) == 0);
  recomputed([&](const std::vector<Variable>&) { return twice; }, {x}).backward(seed);
  CHECK(difference(w.grad(), (Variable(seed) * 3.0).value()) < 1e-12);
  CHECK(difference(x.grad(), seed) == 0);
}

TEST_CASE("recomputed: a backward that fails inside leaves nothing behind") {
  const Variable x = leaf({2}, 15), w = leaf({2}, 16);
  const Variable y = sum(recomputed(
      [&](const std::vector<Variable>& in) {
        const Variable inside = in[0] * w;
        return record("fails", inside.value(), {inside},
                      [](const Tensor&) -> std::vector<Tensor> { fail("on purpose"); });
      },
      {x}));
  const Variable both = y + sum(w * x);
  CHECK_THROWS_WITH_AS(both.backward(), "on purpose", Error);
  sum(w * 3.0).backward();
  CHECK(w.grad().to_vector<double>() == std::vector<double>{3, 3});
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("gradients kept by different variables can be changed one by one") {
  const Tensor seed = normal({2, 3}, 20);
  const Variable a = leaf({2, 3}, 17), b = leaf({2, 3}, 18), c = leaf({2, 3}, 19);
  const Variable y = a + b;
  y.retain_grad();
  const Variable z = y + reshape(c, {2, 3});
  z.retain_grad();
  z.backward(seed);
  const std::vector<Variable> all = {a, b, c, y, z};
  for (std::size_t i = 0; i < all.size(); ++i) {
    Tensor mine = all[i].grad();
    CHECK_FALSE(mine.shares_storage(seed));
    CHECK(difference(mine, seed) == 0);
    mine.add_(seed);
    for (std::size_t k = 0; k < all.size(); ++k)
      CHECK(difference(all[k].grad(), k <= i ? (Variable(seed) * 2.0).value() : seed) == 0);
  }
  // The elements of one gradient, too: that of a sum is one number, broadcast.
  const Variable x = leaf({4}, 21), p = leaf({2}, 22), q = leaf({3}, 23);
  sum(x).backward();
  Tensor dx = x.grad();
  dx.add_(Tensor::full({4}, 2.0, DType::f64, test_device()));
  CHECK(x.grad().to_vector<double>() == std::vector<double>(4, 3));
  concat({p, q}, 0).backward(normal({5}, 24));
  CHECK_FALSE(p.grad().shares_storage(q.grad()));
}

TEST_CASE("gradients of a layer are kept, not copied") {
  const Variable x = leaf({6, 4}, 25), w = leaf({3, 4}, 26), b = leaf({3}, 27);
  const Variable g = leaf({4}, 28), beta = leaf({4}, 29);
  const Variable y = linear(batch_norm(x, g, beta, 1e-5), w, b, Activation::gelu);
  const Tensor seed = normal({6, 3}, 30);
  const Profile profile;
  y.backward(seed);
  CHECK_FALSE(profile.ops().contains("copy"));
  CHECK(b.grad().defined());
}

TEST_CASE("recomputed: an input changed in place before the backward is refused") {
  const Variable x = leaf({3, 4}, 14);
  const Variable y =
      sum(recomputed([](const std::vector<Variable>& in) { return square(in[0]); }, {x}));
  Tensor value = x.value();
  value.fill_(0);
  CHECK_THROWS_AS(y.backward(), Error);
}

TEST_CASE("a leaf's gradient is complete right after its earliest use") {
  Variable early(Tensor::full({2}, 2), true), late(Tensor::full({2}, 3), true);
  std::vector<std::string> order;
  early.on_complete([&] { order.push_back("early"); });
  late.on_complete([&] {
    order.push_back("late");
    CHECK(late.grad().to_vector<double>() == std::vector<double>{16, 16});
  });
  const auto loss = [&] {
    const Variable x = early * early;
    const Variable mark = record("mark", x.value().clone(), {x}, [&](const Tensor& dy) {
      order.push_back("between");
      return std::vector<Tensor>{dy};
    });
    return sum(mark * late + late * late * 2.0);
  };
  loss().backward();
  CHECK(order == std::vector<std::string>{"late", "between", "early"});
  // Graphs that are thrown away or walked twice only make it later, never too early.
  loss();
  order.clear();
  early.zero_grad();
  late.zero_grad();
  const Variable twice = loss();
  twice.backward({}, true);
  CHECK(order.back() == "early");
  CHECK(order.size() == 3);
  order.clear();
  late.on_complete({});
  twice.backward();
  CHECK(order == std::vector<std::string>{"between", "early"});
  CHECK_THROWS_AS(twice.on_complete([] {}), Error);
}

TEST_CASE("a leaf's gradient is complete once, inside recomputed pieces too") {
  const Variable w(Tensor::full({2}, 2), true), x(Tensor::full({2}, 1), true);
  int calls = 0;
  w.on_complete([&] {
    ++calls;
    CHECK(w.grad().to_vector<double>() == std::vector<double>{5, 5});
  });
  const Variable y = recomputed(
      [&](const std::vector<Variable>& in) { return in[0] * w + w * w; }, {x});
  sum(y).backward();
  CHECK(calls == 1);
}
