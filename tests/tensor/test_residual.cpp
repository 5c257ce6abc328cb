#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE_TEMPLATE("residual with and without layer scale and drop path", T, float, double) {
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 1}, Shape{3, 1}, Shape{2, 3000, 33}}) {
    const std::int64_t n = shape[0], c = shape[shape.size() - 1], image = shape.numel() / n;
    const Tensor x = random_tensor<T>(shape, 1), branch = random_tensor<T>(shape, 2);
    const Tensor dy = random_tensor<T>(shape, 3);
    for (const bool scaled : {false, true}) {
      for (const bool masked : {false, true}) {
        CAPTURE(shape.str());
        const Tensor s = scaled ? random_tensor<T>({c}, 4) : Tensor();
        Tensor mask = masked ? random_tensor<T>({n}, 5) : Tensor();
        if (masked) mask.slice(0, 0, 1).fill_(0);
        const Doubles vx = numbers(x), vb = numbers(branch), vd = numbers(dy);
        const Doubles vs = scaled ? numbers(s) : Doubles(at(c), 1.0);
        const Doubles vm = masked ? numbers(mask) : Doubles(at(n), 1.0);
        Doubles y(vx.size()), db(vx.size()), ds(at(c));
        for (std::size_t i = 0; i < y.size(); ++i) {
          const double m = vm[i / at(image)];
          y[i] = vx[i] + m * vs[i % at(c)] * vb[i];
          db[i] = vd[i] * m * vs[i % at(c)];
          ds[i % at(c)] += vd[i] * m * vb[i];
        }
        CHECK(worst(tested().residual(x, branch, s, mask), y) < tolerance<T>());
        const auto [a, b] =
            with_threads([&] { return tested().residual_backward(branch, s, mask, dy, true); });
        CHECK(worst(a.dbranch, db) < tolerance<T>());
        CHECK(a.ds.defined() == scaled);
        if (scaled) {
          CHECK(worst(a.ds, ds) < tolerance<T>());
          CHECK(numbers(a.ds) == numbers(b.ds));
        }
        const auto without = tested().residual_backward(branch, s, mask, dy, false);
        CHECK(worst(without.dbranch, db) < tolerance<T>());
        CHECK_FALSE(without.ds.defined());
      }
    }
  }
}

TEST_CASE_TEMPLATE("gate_backward", T, float, double) {
  const Tensor a = random_tensor<T>({3, 40001}, 1), u = random_tensor<T>({3, 40001}, 2);
  const Tensor dy = random_tensor<T>({3, 40001}, 3);
  const auto [da, du] = tested().gate_backward(a, u, dy);
  const Doubles va = numbers(a), vu = numbers(u), d = numbers(dy);
  Doubles wa(va.size()), wu(va.size());
  for (std::size_t i = 0; i < va.size(); ++i) {
    wa[i] = d[i] * vu[i];
    wu[i] = d[i] * va[i];
  }
  CHECK(worst(da, wa) < tolerance<T>());
  CHECK(worst(du, wu) < tolerance<T>());
}
