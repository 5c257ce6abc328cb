// What is kept beside tensors: made once while none of them changes, never given for another.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tensor/backend.h"
#include "tensor/cpu/allocator.h"
#include "tensor/derived.h"
#include "tensor/ops.h"

using namespace nextgrad;

namespace {

Tensor ones(const Shape& shape) {
  return Tensor::full(shape, 1, DType::f64);
}

}  // namespace

TEST_CASE("derived: made once, and again after any of its tensors was written to") {
  Tensor a = ones({2, 3}), b = ones({3});
  int made = 0;
  const auto sum = [&](double number = 0) {
    return derived(
        "sum", {a, b, {}}, Keep::at_once,
        [&] {
          ++made;
          return std::vector<Tensor>{a + b, a * b};
        },
        number);
  };
  const std::vector<Tensor> first = sum();
  CHECK(first[0].to_vector<double>() == std::vector<double>(6, 2));
  CHECK(sum()[1].shares_storage(first[1]));
  CHECK(made == 1);
  SUBCASE("the first") {
    a.fill_(3);
  }
  SUBCASE("another") {
    b.add_(b, 2);
  }
  SUBCASE("a view of it") {
    Tensor row = a.slice(0, 1, 2);
    row.fill_(3);
  }
  const std::vector<Tensor> second = sum();
  CHECK(made == 2);
  CHECK(second[0].to_vector<double>() == (a + b).to_vector<double>());
  sum();
  CHECK(made == 2);
  sum(1);
  CHECK(made == 3);
}

TEST_CASE("derived: by name, place, shape and storage") {
  const Tensor a = ones({2, 3});
  int made = 0;
  const auto twice = [&](const char* name, const Tensor& t) {
    return derived_one(name, {t}, Keep::at_once, [&] { return ++made, t * 2; });
  };
  twice("twice", a);
  CHECK(twice("other", a).shape() == Shape{2, 3});
  CHECK(made == 2);
  CHECK(twice("twice", a.reshape({6})).shape() == Shape{6});
  CHECK(twice("twice", a.slice(0, 1, 2)).shape() == Shape{1, 3});
  CHECK(made == 4);
  // Another tensor, where one that is gone has lain.
  for (int i = 0; i < 20; ++i) {
    const Tensor own = ones({64}), short_lived = Tensor::full({64}, i, DType::f64);
    const Tensor sum =
        derived_one("sum", {own, short_lived}, Keep::at_once, [&] { return own + short_lived; });
    CHECK(sum.to_vector<double>()[7] == 1 + i);
  }
}

TEST_CASE("derived: a transposed view is another; what is made meanwhile keeps its own number") {
  const Tensor a = Tensor::from(std::vector<double>{1, 2, 3, 4}, {2, 2});
  const auto copy = [](const Tensor& t) {
    return derived_one("copy", {t}, Keep::at_once, [&] { return t.clone(); }).to_vector<double>();
  };
  CHECK(copy(a) == std::vector<double>{1, 2, 3, 4});
  CHECK(copy(a.transpose(0, 1)) == std::vector<double>{1, 3, 2, 4});
  const auto times = [&](double factor, const std::function<void()>& meanwhile) {
    const auto make = [&] {
      meanwhile();
      return std::vector<Tensor>{a * factor};
    };
    return derived("times", {a}, Keep::at_once, make, factor)[0].to_vector<double>()[0];
  };
  const auto nothing = [] {};
  CHECK(times(2, [&] { CHECK(times(3, nothing) == 3); }) == 2);
  CHECK(times(3, nothing) == 3);
}

TEST_CASE("derived: from the third call on, and no longer than what it was made of") {
  Tensor a = ones({1024});
  Backend& backend = backend_of({});
  const auto live = [&] { return backend.memory().live; };
  const std::size_t before = live(), one = 8192 + cpu::kFence;
  const auto copy = [&](Keep keep) {
    return derived_one("copy", {a}, keep, [&] { return a.clone(); });
  };
  for (int i = 0; i < 2; ++i) {
    copy(Keep::from_third_call);
    CHECK(live() == before);
  }
  const Tensor kept = copy(Keep::from_third_call);
  CHECK(copy(Keep::from_third_call).shares_storage(kept));
  CHECK(live() == before + one);
  // Each write makes it the first call again, and lets go of what is stale, of every name.
  derived_one("other", {a}, Keep::at_once, [&] { return a * 2; });
  CHECK(live() == before + 2 * one);
  a.fill_(2);
  copy(Keep::from_third_call);
  CHECK(live() == before + one);  // `kept`
  {
    const Tensor b = ones({1024});
    derived_one("copy", {b}, Keep::at_once, [&] { return b.clone(); });
    CHECK(live() == before + 3 * one);
  }
  CHECK(live() == before + one);
}

TEST_CASE("derived: threads that ask at once get the same numbers") {
  const Tensor a = ones({100});
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i)
        right += derived_one("twice", {a}, Keep::from_third_call, [&] {
                   return a.clone();
                 }).to_vector<double>()[99] == 1;
    });
  for (std::thread& t : threads) t.join();
  CHECK(right == 200);
}
