#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

Doubles plain_softmax(const Tensor& x, bool log) {
  const std::int64_t n = x.dim(-1);
  Doubles y = numbers(x);
  for (std::int64_t r = 0; r < x.numel() / n; ++r) {
    double* row = y.data() + r * n;
    const double most = *std::max_element(row, row + n);
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += std::exp(row[i] - most);
    for (std::int64_t i = 0; i < n; ++i) {
      row[i] = log ? row[i] - most - std::log(sum) : std::exp(row[i] - most) / sum;
    }
  }
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("softmax and log-softmax with their gradients", T, float, double) {
  for (const Shape& shape : {Shape{1}, Shape{3, 1}, Shape{1, 5}, Shape{7, 16}, Shape{2, 3, 150},
                             Shape{900, 33}, Shape{3, 20000}}) {
    const Tensor x = random_tensor<T>(shape, 1, -6, 6), dy = random_tensor<T>(shape, 2);
    const Doubles d = numbers(dy);
    const std::int64_t n = shape[shape.size() - 1];
    for (const bool log : {false, true}) {
      CAPTURE(shape.str());
      const Tensor y = tested().softmax(x, log);
      CHECK(worst(y, plain_softmax(x, log)) < tolerance<T>());
      const Doubles v = numbers(y);
      Doubles want(v.size());
      for (std::size_t r = 0; r < v.size() / at(n); ++r) {
        double sum = 0;
        for (std::size_t i = r * at(n); i < (r + 1) * at(n); ++i) {
          sum += log ? d[i] : d[i] * v[i];
        }
        for (std::size_t i = r * at(n); i < (r + 1) * at(n); ++i) {
          want[i] = log ? d[i] - std::exp(v[i]) * sum : v[i] * (d[i] - sum);
        }
      }
      CHECK(worst(tested().softmax_backward(y, dy, log), want) < tolerance<T>());
    }
  }
}

TEST_CASE_TEMPLATE("softmax of large and of NaN inputs", T, float, double) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const Tensor x =
      Tensor::from(std::vector<T>{T(1e4), T(1e4), T(-1e4), nan, 0, 1}, {2, 3}, test_device());
  CHECK(worst(tested().softmax(x, false), {0.5, 0.5, 0, nan, nan, nan}, Nan::as_wanted) < 1e-7);
}
