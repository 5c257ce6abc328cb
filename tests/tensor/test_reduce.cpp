#include "tensor/ops.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// Over the axes, one element at a time.
Doubles plain_reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) {
  Shape shape = x.shape();
  double count = 1;
  for (const int a : axes) {
    count *= static_cast<double>(shape[a]);
    shape[a] = 1;
  }
  const Shape in = contiguous_strides(x.shape()), out = contiguous_strides(shape);
  Doubles y(at(shape.numel()));
  const Doubles v = numbers(x);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    std::int64_t rest = i, to = 0;
    for (int a = 0; a < shape.size(); ++a) {
      if (shape[a] > 1) to += rest / in[a] * out[a];
      rest %= in[a];
    }
    y[at(to)] += v[at(i)];
  }
  if (op == Reduce::mean) {
    for (double& s : y) s /= count;
  }
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("reduce: every set of axes of an odd shape", T, float, double) {
  const Tensor x = random_tensor<T>({3, 5, 7, 11}, 1);
  for (int set = 0; set < 16; ++set) {
    std::vector<int> axes;
    for (int a = 0; a < 4; ++a) {
      if ((set >> a & 1) != 0) axes.push_back(a);
    }
    for (const Reduce op : {Reduce::sum, Reduce::mean}) {
      CAPTURE(set);
      const Tensor y = tested().reduce(op, x, axes);
      CHECK(y.ndim() == 4);
      CHECK(worst(y, plain_reduce(op, x, axes)) < tolerance<T>());
    }
  }
}

TEST_CASE_TEMPLATE("reduce: long, wide and single", T, float, double) {
  for (const Shape& shape : {Shape{1, 1}, Shape{70001, 1}, Shape{1, 70001}, Shape{5003, 3},
                             Shape{3, 1100}, Shape{700, 600}}) {
    const Tensor x = random_tensor<T>(shape, 2);
    for (const std::vector<int>& axes : {std::vector<int>{0}, {1}, {0, 1}}) {
      for (const Reduce op : {Reduce::sum, Reduce::mean}) {
        const auto [one, three] = with_threads([&] { return tested().reduce(op, x, axes); });
        CHECK(worst(one, plain_reduce(op, x, axes)) < tolerance<T>());
        CHECK(numbers(one) == numbers(three));
      }
    }
  }
}

TEST_CASE("reduce: a million f32 ones and tenths stay exact to 1e-6") {
  const std::int64_t n = 3000001;
  const Tensor x = Tensor::full({n, 1}, 0.1, DType::f32, test_device());
  const double want = static_cast<double>(n) * static_cast<double>(0.1f);
  CHECK(std::abs(tested().reduce(Reduce::sum, x, {0}).item() / want - 1) < 1e-6);
  const Tensor y = Tensor::full({n / 3, 3}, 0.1, DType::f32, test_device());
  CHECK(std::abs(numbers(tested().reduce(Reduce::sum, y, {0}))[1] / (want / 3) - 1) < 2e-6);
}

TEST_CASE("reduce: NaN wins, empty sums are 0 and empty means throw") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = Tensor::from(std::vector<float>{1, nan, 3, 4, 5, 6}, {2, 3}, test_device());
  CHECK(worst(tested().reduce(Reduce::sum, x, {0}), {5, nan, 9}, Nan::as_wanted) == 0);
  CHECK(worst(tested().reduce(Reduce::mean, x, {1}), {nan, 5}, Nan::as_wanted) == 0);
  const Tensor empty = Tensor::empty({0, 2}, DType::f32, test_device());
  CHECK(numbers(tested().reduce(Reduce::sum, empty, {0})) == Doubles{0, 0});
  CHECK_THROWS_AS(tested().reduce(Reduce::mean, empty, {0}), Error);
}

TEST_CASE_TEMPLATE("reduce: argmax takes the first of equals, and NaN", T, float, double) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const Tensor x =
      Tensor::from(std::vector<T>{1, 3, 3, 2, 2, 2, nan, 5, nan}, {3, 3}, test_device());
  CHECK(tested().argmax(x, 1).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0, 0});
  CHECK(tested().argmax(x, 0).to_vector<std::int64_t>() == std::vector<std::int64_t>{2, 2, 2});
  const Tensor z = random_tensor<T>({4, 9, 5}, 3);
  const Tensor best = tested().argmax(z, 1);
  CHECK(best.shape() == Shape{4, 5});
  const Doubles v = numbers(z);
  const auto got = best.to_vector<std::int64_t>();
  for (std::int64_t a = 0; a < 4; ++a) {
    for (std::int64_t c = 0; c < 5; ++c) {
      for (std::int64_t r = 0; r < 9; ++r) {
        CHECK(v[at((a * 9 + got[at(a * 5 + c)]) * 5 + c)] >= v[at((a * 9 + r) * 5 + c)]);
      }
    }
  }
}

TEST_CASE_TEMPLATE("reduce: norm and all_finite", T, float, double) {
  for (const std::int64_t n : {1, 7, 65536, 65537, 200003}) {
    const Tensor x = random_tensor<T>({n}, 4);
    double want = 0;
    for (const double v : numbers(x)) want += v * v;
    const auto [one, three] = with_threads([&] { return tested().norm({x, x}).item(); });
    CHECK(one == doctest::Approx(std::sqrt(2 * want)).epsilon(1e-12));
    CHECK(one == three);
    CHECK(all_finite(x));
    for (const double bad : {std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity(), std::nan("")}) {
      Tensor y = x.clone();
      y.slice(0, n - 1, n).fill_(bad);
      CHECK_FALSE(all_finite(y));
    }
  }
  CHECK(all_finite(Tensor::full({3}, static_cast<double>(std::numeric_limits<T>::max()),
                                dtype_of<T>, test_device())));
}
