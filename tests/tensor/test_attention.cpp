#include "tensor/profile.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

struct Case {
  std::int64_t b, m, n;
  int heads;
  std::int64_t d, e;
  std::string str() const {
    return "b " + std::to_string(b) + ", m " + std::to_string(m) + ", n " + std::to_string(n) +
           ", heads " + std::to_string(heads) + ", d " + std::to_string(d) + ", e " +
           std::to_string(e);
  }
};

struct Inputs {
  Tensor q, k, v, dy;
  template <class T>
  static Inputs random(const Case& c) {
    return {random_tensor<T>({c.b, c.m, c.heads * c.d}, 1),
            random_tensor<T>({c.b, c.n, c.heads * c.d}, 2),
            random_tensor<T>({c.b, c.n, c.heads * c.e}, 3),
            random_tensor<T>({c.b, c.m, c.heads * c.e}, 4)};
  }
};

struct Results {
  Tensor y, log_sum, dq, dk, dv;
};
template <class F, class G>
Results results_of(F&& forward, G&& backward) {
  const AttentionResult r = forward();
  const AttentionGradients g = backward(r);
  return {r.y, r.log_sum, g.dq, g.dk, g.dv};
}
Results results(const Inputs& in, int heads, double scale) {
  return results_of([&] { return tested().attention(in.q, in.k, in.v, heads, scale); },
                    [&](const AttentionResult& r) {
                      return tested().attention_backward(in.q, in.k, in.v, r.y, r.log_sum, in.dy,
                                                         heads, scale);
                    });
}
// The composition of primitives (tensor/fused.cpp).
Results composed(const Inputs& in, int heads, double scale) {
  return results_of([&] { return tested().Fused::attention(in.q, in.k, in.v, heads, scale); },
                    [&](const AttentionResult& r) {
                      return tested().Fused::attention_backward(in.q, in.k, in.v, r.y, r.log_sum,
                                                                in.dy, heads, scale);
                    });
}

// By the formula, loop by loop, in double.
struct Plain {
  Doubles q, k, v, dy;
  Doubles y, log_sum, dq, dk, dv;
};
void plain_row(const Case& c, double scale, std::int64_t image, int h, std::int64_t i, Plain& x) {
  const auto row = [&](Doubles& all, std::int64_t rows, std::int64_t width, std::int64_t r) {
    return all.data() + ((image * rows + r) * c.heads + h) * width;
  };
  const double *q = row(x.q, c.m, c.d, i), *dy = row(x.dy, c.m, c.e, i);
  Doubles p(at(c.n)), dp(at(c.n));
  double most = -HUGE_VAL, sum = 0, total = 0;
  for (std::int64_t j = 0; j < c.n; ++j) {
    for (std::int64_t t = 0; t < c.d; ++t) p[at(j)] += scale * q[t] * row(x.k, c.n, c.d, j)[t];
    for (std::int64_t t = 0; t < c.e; ++t) dp[at(j)] += dy[t] * row(x.v, c.n, c.e, j)[t];
    most = std::max(most, p[at(j)]);
  }
  for (double& s : p) sum += s = std::exp(s - most);
  for (double& s : p) s /= sum;
  for (std::int64_t j = 0; j < c.n; ++j) total += p[at(j)] * dp[at(j)];
  x.log_sum[at((image * c.heads + h) * c.m + i)] = most + std::log(sum);
  for (std::int64_t j = 0; j < c.n; ++j) {
    const double ds = scale * p[at(j)] * (dp[at(j)] - total);
    for (std::int64_t t = 0; t < c.e; ++t) {
      row(x.y, c.m, c.e, i)[t] += p[at(j)] * row(x.v, c.n, c.e, j)[t];
      row(x.dv, c.n, c.e, j)[t] += p[at(j)] * dy[t];
    }
    for (std::int64_t t = 0; t < c.d; ++t) {
      row(x.dq, c.m, c.d, i)[t] += ds * row(x.k, c.n, c.d, j)[t];
      row(x.dk, c.n, c.d, j)[t] += ds * q[t];
    }
  }
}
Plain plain(const Case& c, const Inputs& in, double scale) {
  const auto zeros = [](std::int64_t n) { return Doubles(at(n)); };
  Plain x{numbers(in.q),       numbers(in.k),        numbers(in.v),
          numbers(in.dy),      zeros(in.dy.numel()), zeros(c.b * c.heads * c.m),
          zeros(in.q.numel()), zeros(in.k.numel()),  zeros(in.v.numel())};
  for (std::int64_t image = 0; image < c.b; ++image)
    for (int h = 0; h < c.heads; ++h)
      for (std::int64_t i = 0; i < c.m; ++i) plain_row(c, scale, image, h, i, x);
  return x;
}

void check_close(const Results& got, const auto& want, double tolerance) {
  CHECK(worst(got.y, want.y) < tolerance);
  CHECK(worst(got.log_sum, want.log_sum) < tolerance);
  CHECK(worst(got.dq, want.dq) < tolerance);
  CHECK(worst(got.dk, want.dk) < tolerance);
  CHECK(worst(got.dv, want.dv) < tolerance);
}

}  // namespace

TEST_CASE_TEMPLATE("attention by the formula", T, float, double) {
  for (const Case& c : {Case{1, 1, 1, 1, 1, 1}, Case{2, 3, 5, 1, 5, 1}, Case{1, 7, 1, 3, 5, 2},
                        Case{2, 13, 17, 2, 1, 5}, Case{1, 1, 70, 2, 32, 7}, Case{3, 33, 9, 8, 4, 4},
                        Case{1, 65, 67, 1, 64, 33}}) {
    CAPTURE(c.str());
    const Inputs in = Inputs::random<T>(c);
    for (const double scale : {0.3, -1.0})
      check_close(results(in, c.heads, scale), plain(c, in, scale), tolerance<T>() * 10);
  }
}

TEST_CASE_TEMPLATE("attention, kernels against the composition", T, float, double) {
  for (const Case& c :
       {Case{1, 131, 129, 1, 64, 64}, Case{2, 97, 257, 2, 32, 40}, Case{1, 200, 67, 1, 65, 130},
        Case{1, 63, 300, 4, 16, 8}, Case{1, 20, 33, 1, 256, 512}, Case{1, 9, 40, 1, 600, 3},
        Case{2, 5, 1100, 1, 3, 2}}) {
    CAPTURE(c.str());
    const Inputs in = Inputs::random<T>(c);
    const double scale = 1 / std::sqrt(static_cast<double>(c.d));
    check_close(results(in, c.heads, scale), composed(in, c.heads, scale), tolerance<T>() * 10);
  }
}

TEST_CASE("attention of a head with several pieces of keys") {
  const Case c{1, 130, 2500, 1, 8, 8};
  const Inputs in = Inputs::random<float>(c);
  check_close(results(in, 1, 0.5), composed(in, 1, 0.5), 1e-4);
}

// Scores that no exponential survives; the largest comes late, so that sums before it vanish.
TEST_CASE_TEMPLATE("attention of large scores", T, float, double) {
  const Case c{1, 70, 150, 2, 2, 3};
  Inputs in = Inputs::random<T>(c);
  std::vector<T> q(at(in.q.numel())), k(at(in.k.numel()));
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = i / 2 % 2 == 0 ? T(100) : T(-50);
  for (std::size_t i = 0; i < k.size(); ++i)
    k[i] = i % 2 == 1 ? T(0) : i / 4 == 140 ? T(100) : i / 4 == 3 ? T(-150) : T(25);
  in.q = Tensor::from(q, in.q.shape(), test_device());
  in.k = Tensor::from(k, in.k.shape(), test_device());
  check_close(results(in, c.heads, 1), plain(c, in, 1), std::is_same_v<T, float> ? 2e-3 : 1e-9);
}

// What a row's weights are must not depend on a constant in its scores, however they are cut.
TEST_CASE_TEMPLATE("attention of all scores low or high", T, float, double) {
  const Case c{1, 5, 300, 1, 1, 2};
  Inputs in = Inputs::random<T>(c);
  in.q = Tensor::full(in.q.shape(), 1, dtype_of<T>, test_device());
  const auto shifted = [&](double by) {
    Tensor k = Tensor::zeros(in.k.shape(), dtype_of<T>, test_device());
    k.fill_(by);
    return results({in.q, k, in.v, in.dy}, 1, 1);
  };
  for (const double by : {-1e4, 1e4}) {
    const Results got = shifted(by), want = shifted(0);
    CHECK(worst(got.y, want.y) < tolerance<T>());
    CHECK(worst(got.dv, want.dv) < 1e-3);
  }
}

TEST_CASE("attention of NaN") {
  Inputs in = Inputs::random<float>({1, 4, 3, 1, 1, 1});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  in.q = Tensor::from(std::vector<float>{1, nan, 2, 3}, {1, 4, 1}, test_device());
  const Doubles y = numbers(tested().attention(in.q, in.k, in.v, 1, 1).y);
  CHECK(std::isnan(y[1]));
  for (const int i : {0, 2, 3}) CHECK(std::isfinite(y[at(i)]));
}

TEST_CASE_TEMPLATE("attention is the same with any number of threads", T, float, double) {
  for (const Case& c : {Case{1, 300, 1200, 1, 16, 16}, Case{2, 450, 70, 3, 5, 7}}) {
    CAPTURE(c.str());
    const Inputs in = Inputs::random<T>(c);
    const auto [one, three] = with_threads([&] { return results(in, c.heads, 0.2); });
    CHECK(numbers(one.y) == numbers(three.y));
    CHECK(numbers(one.log_sum) == numbers(three.log_sum));
    CHECK(numbers(one.dq) == numbers(three.dq));
    CHECK(numbers(one.dk) == numbers(three.dk));
    CHECK(numbers(one.dv) == numbers(three.dv));
  }
}

TEST_CASE("attention costs two products, its backward five") {
  const Inputs in = Inputs::random<float>({2, 3, 5, 2, 7, 4});
  std::map<std::string, OpCost> ops;
  {
    Profile profile;
    results(in, 2, 0.3);
    ops = profile.ops();
  }
  const double pairs = 2 * 2 * 3 * 5;  // of queries and keys, in all heads
  CHECK(ops.at("attention").flops == 2 * pairs * (7 + 4));
  CHECK(ops.at("attention_backward").flops == 2 * pairs * (3 * 7 + 2 * 4));
}

TEST_CASE("attention's weights never exist") {
  const bool emulated = test_device().kind != Device::Kind::cpu;
  const std::int64_t rows = emulated ? 1024 : 2048;  // the emulation takes its time
  const Inputs in = Inputs::random<float>({1, rows, rows, 2, 8, 8});
  Backend& b = tested();
  b.synchronize();
  const std::size_t before = b.memory().live;
  b.reset_peak();
  const Results r = results(in, 2, 0.3);
  b.synchronize();
  CHECK(static_cast<double>(b.memory().peak - before) < 0.1 * 4 * rows * rows);
}
