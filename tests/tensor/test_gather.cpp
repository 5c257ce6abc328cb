#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE_TEMPLATE("gather along each axis and its transpose", T, float, double) {
  const Shape shape{3, 4, 5};
  const Tensor x = random_tensor<T>(shape, 1);
  const Doubles v = numbers(x);
  for (int axis = 0; axis < 3; ++axis) {
    // The other axes may be shorter than x's, the gathered one longer.
    Shape s{2, 3, 4};
    s[axis] = 7;
    RandomStream stream(RandomKey{2, 0, 0, 0});
    std::vector<std::int64_t> index(at(s.numel()));
    for (auto& i : index) {
      i = static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(shape[axis])));
    }
    const Tensor chosen = Tensor::from(index, s, test_device());
    const Tensor dy = random_tensor<T>(s, 3);
    const Doubles d = numbers(dy);
    Doubles want(index.size()), gradient(v.size());
    std::size_t i = 0;
    for (std::int64_t a = 0; a < s[0]; ++a) {
      for (std::int64_t b = 0; b < s[1]; ++b) {
        for (std::int64_t c = 0; c < s[2]; ++c, ++i) {
          std::int64_t p[] = {a, b, c};
          p[axis] = index[i];
          const std::size_t from = at((p[0] * 4 + p[1]) * 5 + p[2]);
          want[i] = v[from];
          gradient[from] += d[i];
        }
      }
    }
    CHECK(worst(tested().gather(x, axis, chosen), want) == 0);
    CHECK(worst(tested().gather(x, axis - 3, chosen), want) == 0);
    CHECK(worst(tested().gather_backward(shape, axis, chosen, dy), gradient) < tolerance<T>());
  }
}

TEST_CASE("gather of other types and refusals") {
  const Tensor x = Tensor::from(std::vector<std::int32_t>{10, 20, 30}, {3}, test_device());
  const Tensor index = Tensor::from(std::vector<std::int64_t>{2, 0, 2, 1}, {4}, test_device());
  CHECK(numbers(tested().gather(x, 0, index)) == Doubles{30, 10, 30, 20});
  const Tensor low = Tensor::from(std::vector<std::int64_t>{-1}, {1}, test_device());
  const Tensor high = Tensor::from(std::vector<std::int64_t>{3}, {1}, test_device());
  CHECK_THROWS_AS(numbers(tested().gather(x, 0, low)), Error);  // a GPU: when it is waited for
  CHECK_THROWS_AS(numbers(tested().gather(x, 0, high)), Error);
  CHECK_THROWS_AS(tested().gather(x, 0, Tensor::zeros({1, 1}, DType::i64, test_device())), Error);
  const Tensor square = Tensor::zeros({2, 2}, DType::f32, test_device());
  const Tensor wide = Tensor::zeros({2, 3}, DType::i64, test_device());
  CHECK_THROWS_AS(tested().gather(square, 0, wide), Error);
}

TEST_CASE_TEMPLATE("random tensors are those of the Philox stream for any threads", T, float,
                   double) {
  const RandomKey key{7, 3, 2, 1};
  const std::int64_t n = 40003;
  const auto draw = [&] { return tested().random_uniform({n}, dtype_of<T>, key); };
  const auto [one, three] = with_threads(draw);
  const Doubles u = numbers(one);
  CHECK(u == numbers(three));
  for (const std::int64_t i : {std::int64_t{0}, std::int64_t{5}, std::int64_t{20002}, n - 1}) {
    const auto words = philox({static_cast<std::uint32_t>(i / 4), 0, 0, 0}, key.mixed());
    CHECK(u[at(i)] == (words[at(i % 4)] >> 8) / 16777216.0);
  }
  const auto [z1, z3] = with_threads([&] { return tested().random_normal({n}, dtype_of<T>, key); });
  const Doubles z = numbers(z1);
  CHECK(z == numbers(z3));
  double mean = 0, square = 0, pairs = 0;
  for (std::size_t i = 0; i + 1 < z.size(); ++i) {
    mean += z[i];
    square += z[i] * z[i];
    pairs += z[i] * z[i + 1];
  }
  const double count = static_cast<double>(n);
  CHECK(std::abs(mean / count) < 0.02);
  CHECK(std::abs(square / count - 1) < 0.03);
  CHECK(std::abs(pairs / count) < 0.02);
}

TEST_CASE_TEMPLATE("random tensors from a number of the stream on are the whole's tail", T, float,
                   double) {
  const RandomKey whole{7, 3, 2, 1};
  const std::int64_t n = 4096 + 50;
  const auto draws = [](std::int64_t count, const RandomKey& key) {
    return std::vector<Doubles>{numbers(tested().random_uniform({count}, dtype_of<T>, key)),
                                numbers(tested().random_normal({count}, dtype_of<T>, key)),
                                numbers(tested().dropout_mask({count}, dtype_of<T>, 0.3, key))};
  };
  const std::vector<Doubles> all = draws(n, whole);
  for (const std::int64_t first : {0, 1, 2, 3, 5, 4096 + 3}) {
    for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, n - first}) {
      CAPTURE(first);
      CAPTURE(count);
      RandomKey key = whole;
      key.first = static_cast<std::uint64_t>(first);
      const std::vector<Doubles> part = draws(count, key);
      for (std::size_t i = 0; i < part.size(); ++i)
        CHECK(part[i] == Doubles(all[i].begin() + first, all[i].begin() + first + count));
    }
  }
}

TEST_CASE("dropout masks keep 1 - p of the elements, scaled") {
  const RandomKey key{1, 2, 3, 4};
  const Doubles mask = numbers(tested().dropout_mask({100, 401}, DType::f32, 0.25, key));
  double zeros = 0;
  for (const double v : mask) {
    CHECK((v == 0 || v == doctest::Approx(4.0 / 3)));
    zeros += v == 0;
  }
  CHECK(zeros / static_cast<double>(mask.size()) == doctest::Approx(0.25).epsilon(0.03));
  CHECK(numbers(tested().dropout_mask({3}, DType::f64, 0, key)) == Doubles{1, 1, 1});
  CHECK(numbers(tested().dropout_mask({3}, DType::f64, 1, key)) == Doubles{0, 0, 0});
  CHECK_THROWS_AS(tested().dropout_mask({3}, DType::f64, 1.5, key), Error);

  // Several at once are those one by one.
  const std::vector<double> p = {0.3, 0, 0.9, 0.5};
  for (const std::int64_t n : {1, 6, 133}) {
    const Tensor all = tested().dropout_masks(n, DType::f32, p, key);
    RandomKey own = key;
    for (std::int64_t i = 0; i < 4; ++i, ++own.use)
      CHECK(numbers(all.slice(0, i, i + 1)) ==
            numbers(tested().dropout_mask({n}, DType::f32, p[static_cast<std::size_t>(i)], own)));
  }
}
