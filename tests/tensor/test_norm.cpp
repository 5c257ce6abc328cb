#include "tensor/ops.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// The set of elements normalised together: (image, group) of x [images, rows, c]. Batch norm: one
// image, groups = c. Layer norm: rows are images, one group.
struct Layout {
  std::int64_t images, rows, c, groups;
  std::int64_t set(std::int64_t i) const { return i / (rows * c) * groups + i % c / (c / groups); }
};

struct Plain {
  Doubles y, mean, rstd, dx, dgamma, dbeta;
};

Plain plain_norm(const Tensor& tx, const Tensor& tgamma, const Tensor& tbeta, const Tensor& tdy,
                 const Layout& l, double eps) {
  const Doubles x = numbers(tx), gamma = numbers(tgamma), beta = numbers(tbeta), dy = numbers(tdy);
  const auto sets = at(l.images * l.groups);
  const double m = static_cast<double>(l.rows * (l.c / l.groups));
  Plain p{Doubles(x.size()), Doubles(sets),         Doubles(sets),
          Doubles(x.size()), Doubles(gamma.size()), Doubles(gamma.size())};
  for (std::size_t i = 0; i < x.size(); ++i) p.mean[at(l.set(std::int64_t(i)))] += x[i] / m;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t s = at(l.set(std::int64_t(i)));
    p.rstd[s] += (x[i] - p.mean[s]) * (x[i] - p.mean[s]) / m;
  }
  for (double& v : p.rstd) v = 1 / std::sqrt(v + eps);
  Doubles a(sets), b(sets);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t s = at(l.set(std::int64_t(i))), k = i % at(l.c);
    const double hat = (x[i] - p.mean[s]) * p.rstd[s];
    p.y[i] = hat * gamma[k] + beta[k];
    p.dgamma[k] += dy[i] * hat;
    p.dbeta[k] += dy[i];
    a[s] += dy[i] * gamma[k] / m;
    b[s] += dy[i] * gamma[k] * hat / m;
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t s = at(l.set(std::int64_t(i))), k = i % at(l.c);
    const double hat = (x[i] - p.mean[s]) * p.rstd[s];
    // Of one number alone 0, of which rounding would leave something to be relative to.
    p.dx[i] = m == 1 ? 0 : p.rstd[s] * (dy[i] * gamma[k] - a[s] - hat * b[s]);
  }
  return p;
}

void check_norm(const NormResult& r, const NormGradients& g, const Plain& p, double tol) {
  CHECK(worst(r.y, p.y) < tol);
  CHECK(worst(r.mean, p.mean) < tol);
  CHECK(worst(r.rstd, p.rstd) < tol);
  CHECK(worst(g.dx, p.dx) < tol);
  CHECK(worst(g.dgamma, p.dgamma) < tol);
  CHECK(worst(g.dbeta, p.dbeta) < tol);
}

}  // namespace

TEST_CASE_TEMPLATE("norm: batch norm and its gradients", T, float, double) {
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 5}, Shape{3, 1}, Shape{5, 67, 3},
                             Shape{2, 70, 600}, Shape{3, 40, 37, 33}}) {
    CAPTURE(shape.str());
    const std::int64_t c = shape[shape.size() - 1];
    const Tensor x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
    const Tensor gamma = random_tensor<T>({c}, 3), beta = random_tensor<T>({c}, 4);
    const Plain p = plain_norm(x, gamma, beta, dy, {1, x.numel() / c, c, c}, 1e-2);
    const NormResult r = tested().batch_norm(x, gamma, beta, 1e-2);
    const NormGradients g = tested().batch_norm_backward(x, gamma, r.mean, r.rstd, dy);
    CHECK(r.mean.shape() == Shape{c});
    check_norm(r, g, p, tolerance<T>());
  }
}

TEST_CASE_TEMPLATE("norm: layer norm and its gradients", T, float, double) {
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 5}, Shape{3, 2}, Shape{150, 600}}) {
    CAPTURE(shape.str());
    const std::int64_t c = shape[shape.size() - 1], rows = shape.numel() / c;
    const Tensor x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
    const Tensor gamma = random_tensor<T>({c}, 3), beta = random_tensor<T>({c}, 4);
    const Plain p = plain_norm(x, gamma, beta, dy, {rows, 1, c, 1}, 1e-2);
    const NormResult r = tested().layer_norm(x, gamma, beta, 1e-2);
    const NormGradients g = tested().layer_norm_backward(x, gamma, r.mean, r.rstd, dy);
    CHECK(r.mean.ndim() == x.ndim() - 1);
    check_norm(r, g, p, tolerance<T>());
  }
}

TEST_CASE_TEMPLATE("norm: group norm and its gradients", T, float, double) {
  for (const int groups : {1, 2, 6}) {
    for (const Shape& shape : {Shape{2, 3, 5, 6}, Shape{1, 6}, Shape{2, 11000, 6}}) {
      CAPTURE(shape.str());
      const std::int64_t c = 6, rows = shape.numel() / (shape[0] * c);
      const Tensor x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
      const Tensor gamma = random_tensor<T>({c}, 3), beta = random_tensor<T>({c}, 4);
      const Plain p = plain_norm(x, gamma, beta, dy, {shape[0], rows, c, groups}, 1e-2);
      const NormResult r = tested().group_norm(x, gamma, beta, groups, 1e-2);
      const NormGradients g = tested().group_norm_backward(x, gamma, r.mean, r.rstd, dy, groups);
      CHECK(r.mean.shape() == Shape{shape[0], groups});
      check_norm(r, g, p, 3 * tolerance<T>());
    }
  }
  const Tensor x = random_tensor<T>({1, 6}, 1), g = random_tensor<T>({6}, 2);
  CHECK_THROWS_AS(tested().group_norm(x, g, g, 4, 1e-5), Error);
}

TEST_CASE("norm: f32 statistics of many rows whose mean is far above their deviation") {
  const std::int64_t rows = 300001, c = 3;
  RandomStream stream(RandomKey{9, 0, 0, 0});
  std::vector<float> v(at(rows * c));
  Doubles mean(3), variance(3);
  for (std::size_t i = 0; i < v.size(); ++i) {
    v[i] = static_cast<float>(1000.0 * static_cast<double>(i % 3) + stream.normal());
    mean[i % 3] += v[i] / static_cast<double>(rows);
  }
  for (std::size_t i = 0; i < v.size(); ++i) {
    variance[i % 3] += (v[i] - mean[i % 3]) * (v[i] - mean[i % 3]) / static_cast<double>(rows);
  }
  const Tensor x = Tensor::from(v, {rows, c}, test_device());
  const Tensor one = Tensor::full({c}, 1, DType::f32, test_device()),
               zero = Tensor::zeros({c}, DType::f32, test_device());
  const auto [a, b] = with_threads([&] { return tested().batch_norm(x, one, zero, 0.0); });
  CHECK(numbers(a.rstd) == numbers(b.rstd));
  CHECK(numbers(a.mean) == numbers(b.mean));
  for (std::size_t k = 0; k < 3; ++k) {
    CHECK(numbers(a.mean)[k] == doctest::Approx(mean[k]).epsilon(1e-7));
    CHECK(numbers(a.rstd)[k] == doctest::Approx(1 / std::sqrt(variance[k])).epsilon(2e-6));
  }
}

TEST_CASE_TEMPLATE("norm: gradients do not depend on the number of threads", T, float, double) {
  const Tensor x = random_tensor<T>({9000, 33}, 1), dy = random_tensor<T>({9000, 33}, 2);
  const Tensor gamma = random_tensor<T>({33}, 3);
  const NormResult r = tested().batch_norm(x, gamma, gamma, 1e-5);
  const auto [a, b] =
      with_threads([&] { return tested().batch_norm_backward(x, gamma, r.mean, r.rstd, dy); });
  CHECK(numbers(a.dx) == numbers(b.dx));
  CHECK(numbers(a.dgamma) == numbers(b.dgamma));
  const NormResult l = tested().layer_norm(x, gamma, gamma, 1e-5);
  const auto [c, d] =
      with_threads([&] { return tested().layer_norm_backward(x, gamma, l.mean, l.rstd, dy); });
  CHECK(numbers(c.dgamma) == numbers(d.dgamma));
  CHECK(numbers(c.dbeta) == numbers(d.dbeta));
}

namespace {

// The sums over rows of a and of b, [2, C], divided by `by`.
Doubles two_sums(const Doubles& a, const Doubles& b, std::int64_t c, double by = 1) {
  Doubles sums(at(2 * c));
  for (std::size_t i = 0; i < a.size(); ++i) {
    sums[i % at(c)] += a[i] / by;
    sums[at(c) + i % at(c)] += b[i] / by;
  }
  return sums;
}

}  // namespace

TEST_CASE_TEMPLATE("norm: batch norm in parts", T, float, double) {
  for (const std::int64_t c : {1, 3, 17, 64, 520}) {
    for (const std::int64_t rows : {0, 1, 7, 1003}) {
      CAPTURE(c);
      CAPTURE(rows);
      const Shape shape{rows, 1, c};
      const Tensor x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
      const Tensor centre = random_tensor<T>({c}, 3), of = random_tensor<T>({3, c}, 4);
      const double count = std::max(1.0, static_cast<double>(rows));
      const Doubles px = numbers(x), d = numbers(dy), m = numbers(centre), k = numbers(of);
      for (const bool shifted : {false, true}) {
        Doubles z = px, squares, products, dx;
        for (std::size_t i = 0; i < z.size(); ++i) {
          const std::size_t j = i % at(c);
          if (shifted) z[i] -= m[j];
          squares.push_back(z[i] * z[i]);
          products.push_back(z[i] * d[i]);
          dx.push_back(k[j] * d[i] - k[at(c) + j] * z[i] - k[at(2 * c) + j]);
        }
        const Tensor moments = tested().channel_moments(x, shifted ? centre : Tensor{});
        CHECK(moments.dtype() == DType::f64);
        CHECK(moments.shape() == Shape{2, c});
        CHECK(worst(moments * (1 / count), two_sums(z, squares, c, count)) < tolerance<T>());
        if (!shifted) continue;
        const Tensor sums = tested().channel_products(x, centre, dy);
        CHECK(sums.dtype() == DType::f64);
        CHECK(sums.shape() == Shape{2, c});
        CHECK(worst(sums * (1 / count), two_sums(d, products, c, count)) < tolerance<T>());
        const Tensor got = tested().channel_gradient(x, centre, dy, of);
        CHECK(got.dtype() == dtype_of<T>);
        CHECK(got.shape() == shape);
        if (rows > 0) CHECK(worst(got, dx) < tolerance<T>());
      }
    }
  }
}

TEST_CASE("norm: f32 moments of a mean far above the deviation, and far from the centre") {
  const std::int64_t rows = 100001, c = 3;
  RandomStream stream(RandomKey{9, 0, 0, 0});
  std::vector<float> v(at(rows * c));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(1000.0 * static_cast<double>(i % 3) + stream.normal());
  const Tensor x = Tensor::from(v, {rows, c}, test_device());
  for (const Doubles& centre : {Doubles{0, 0, 0}, Doubles{1, 999, 2000.5}}) {
    Doubles z = numbers(x), squares;
    for (std::size_t i = 0; i < z.size(); ++i) {
      z[i] -= centre[i % 3];
      squares.push_back(z[i] * z[i]);
    }
    const double n = static_cast<double>(rows);
    const Doubles want = two_sums(z, squares, c, n);
    const Tensor about = Tensor::from(centre, {c}, test_device()).to(DType::f32);
    const Doubles got = numbers(tested().channel_moments(x, about));
    for (std::size_t k = 0; k < 3; ++k) {
      const double mean = got[k] / n, variance = got[3 + k] / n - mean * mean;
      CHECK(centre[k] + mean == doctest::Approx(centre[k] + want[k]).epsilon(1e-7));
      CHECK(variance == doctest::Approx(want[3 + k] - want[k] * want[k]).epsilon(2e-6));
    }
  }
}

TEST_CASE_TEMPLATE("norm: batch norm in parts does not depend on the number of threads", T, float,
                   double) {
  const Tensor x = random_tensor<T>({9000, 33}, 1), dy = random_tensor<T>({9000, 33}, 2);
  const Tensor centre = random_tensor<T>({33}, 3), of = random_tensor<T>({3, 33}, 4);
  const int before = num_threads();
  std::vector<Doubles> first;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const std::vector<Doubles> now = {numbers(tested().channel_moments(x, centre)),
                                      numbers(tested().channel_products(x, centre, dy)),
                                      numbers(tested().channel_gradient(x, centre, dy, of))};
    if (threads == 1) first = now;
    CHECK(now == first);
  }
  set_num_threads(before);
}

TEST_CASE_TEMPLATE("norm: running statistics and channel_affine", T, float, double) {
  const Tensor mean = random_tensor<T>({5}, 1), rstd = random_tensor<T>({5}, 2, 0.5, 1.5);
  Tensor running_mean = random_tensor<T>({5}, 3), running_var = random_tensor<T>({5}, 4, 1, 2);
  Doubles wm = numbers(running_mean), wv = numbers(running_var);
  for (std::size_t k = 0; k < 5; ++k) {
    const double r = numbers(rstd)[k];
    wm[k] = 0.9 * wm[k] + 0.1 * numbers(mean)[k];
    wv[k] = 0.9 * wv[k] + 0.1 * (1 / (r * r) - 1e-5) * 7.0 / 6.0;
  }
  Tensor batches = Tensor::full({}, 3, DType::i64, test_device());
  tested().update_running({running_mean, running_var, 0.1, &batches}, mean, rstd, 1e-5, 7);
  CHECK(batches.item() == 4);
  CHECK(worst(running_mean, wm) < tolerance<T>());
  CHECK(worst(running_var, wv) < tolerance<T>());

  const Tensor x = random_tensor<T>({3, 7, 5}, 5);
  Doubles want = numbers(x);
  for (std::size_t i = 0; i < want.size(); ++i) {
    want[i] = want[i] * numbers(rstd)[i % 5] + numbers(mean)[i % 5];
  }
  CHECK(worst(tested().channel_affine(x, rstd, mean, {}), want) < tolerance<T>());
}

TEST_CASE_TEMPLATE("norm: statistics folded into a scale and a shift", T, float, double) {
  for (const std::int64_t c : {1, 5, 700}) {
    const Tensor gamma = random_tensor<T>({c}, 1), beta = random_tensor<T>({c}, 2);
    const Tensor mean = random_tensor<T>({c}, 3), variance = random_tensor<T>({c}, 4, 0, 3);
    const auto f = tested().fold_statistics(gamma, beta, mean, variance, 1e-3);
    Doubles scale, shift, rstd;
    for (std::size_t i = 0; i < at(c); ++i) {
      rstd.push_back(1 / std::sqrt(numbers(variance)[i] + 1e-3));
      scale.push_back(numbers(gamma)[i] * rstd[i]);
      shift.push_back(numbers(beta)[i] - numbers(mean)[i] * scale[i]);
    }
    CHECK(worst(f.rstd, rstd) < tolerance<T>());
    CHECK(worst(f.scale, scale) < tolerance<T>());
    CHECK(worst(f.shift, shift) < tolerance<T>());
  }
}
