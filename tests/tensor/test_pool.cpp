#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

struct Case {
  Shape x;
  Window p;
};
const std::vector<Case> kCases = {{{2, 5, 7, 3}, {2, 2, 2, 2, 0, 0, 1, 1}},
                                  {{1, 6, 5, 1}, {3, 3, 2, 2, 1, 1, 1, 1}},
                                  {{2, 7, 8, 35}, {3, 2, 1, 3, 1, 0, 2, 1}},
                                  {{1, 1, 1, 2}, {1, 1, 1, 1, 0, 0, 1, 1}},
                                  {{2, 4, 6, 3}, {4, 6, 1, 1, 0, 0, 1, 1}}};

// Calls fn(output element, input element) for every pair inside a window.
template <class Fn>
void for_pairs(const Case& c, Fn&& fn) {
  const std::int64_t h = c.x[1], w = c.x[2], k = c.x[3];
  const std::int64_t oh = c.p.out_h(h), ow = c.p.out_w(w);
  for (std::int64_t o = 0; o < c.x[0] * oh * ow * k; ++o) {
    const std::int64_t n = o / (oh * ow * k), oy = o / (ow * k) % oh, ox = o / k % ow;
    for (int i = 0; i < c.p.kh; ++i) {
      for (int j = 0; j < c.p.kw; ++j) {
        const std::int64_t y = oy * c.p.stride_h - c.p.pad_h + i * c.p.dilation_h;
        const std::int64_t x = ox * c.p.stride_w - c.p.pad_w + j * c.p.dilation_w;
        if (y >= 0 && y < h && x >= 0 && x < w) fn(at(o), at(((n * h + y) * w + x) * k + o % k));
      }
    }
  }
}

Shape pooled(const Case& c) {
  return {c.x[0], c.p.out_h(c.x[1]), c.p.out_w(c.x[2]), c.x[3]};
}

}  // namespace

TEST_CASE_TEMPLATE("pool: maximum and its gradient", T, float, double) {
  for (const Case& c : kCases) {
    CAPTURE(c.x.str());
    const Tensor x = random_tensor<T>(c.x, 1);
    const Tensor dy = random_tensor<T>(pooled(c), 2);
    const Doubles v = numbers(x), d = numbers(dy);
    Doubles y(d.size(), -1e300), dx(v.size());
    std::vector<std::size_t> best(d.size());
    for_pairs(c, [&](std::size_t o, std::size_t i) {
      if (v[i] > y[o]) {
        y[o] = v[i];
        best[o] = i;
      }
    });
    for (std::size_t o = 0; o < d.size(); ++o) dx[best[o]] += d[o];
    Tensor indices;
    CHECK(worst(tested().max_pool(x, c.p, indices), y) == 0);
    const auto index = indices.to_vector<std::int32_t>();
    for (std::size_t o = 0; o < d.size(); ++o) {
      CHECK(at(index[o]) == best[o] / at(c.x[3]) % at(c.x[1] * c.x[2]));
    }
    CHECK(worst(tested().max_pool_backward(c.x, indices, dy), dx) < tolerance<T>());
  }
}

TEST_CASE_TEMPLATE("pool: average, padding counted or not, and its gradient", T, float, double) {
  for (const Case& c : kCases) {
    for (const bool padded : {false, true}) {
      CAPTURE(c.x.str());
      const Tensor x = random_tensor<T>(c.x, 1);
      const Tensor dy = random_tensor<T>(pooled(c), 2);
      const Doubles v = numbers(x), d = numbers(dy);
      Doubles count(d.size()), y(d.size()), dx(v.size());
      for_pairs(c, [&](std::size_t o, std::size_t) { ++count[o]; });
      if (padded) count.assign(d.size(), static_cast<double>(c.p.kh * c.p.kw));
      for_pairs(c, [&](std::size_t o, std::size_t i) {
        y[o] += v[i] / count[o];
        dx[i] += d[o] / count[o];
      });
      CHECK(worst(tested().average_pool(x, c.p, padded), y) < tolerance<T>());
      CHECK(worst(tested().average_pool_backward(c.x, dy, c.p, padded), dx) < tolerance<T>());
    }
  }
}

TEST_CASE("pool: NaN is the maximum, and a window larger than the image is refused") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = Tensor::from(std::vector<float>{1, nan, 5, 2}, {1, 2, 2, 1}, test_device());
  Tensor indices;
  CHECK(worst(tested().max_pool(x, {2, 2, 2, 2, 0, 0, 1, 1}, indices), {nan}, Nan::as_wanted) == 0);
  CHECK(numbers(indices) == Doubles{1});
  CHECK_THROWS_AS(tested().max_pool(x, {3, 3, 1, 1, 0, 0, 1, 1}, indices), Error);
}
