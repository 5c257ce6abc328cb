#include <functional>
#include <map>
#include <set>
#include <string>

#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

double normal_cdf(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0));
}
double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

const std::map<Unary, std::function<double(double)>> kUnary = {
    {Unary::neg, [](double x) { return -x; }},
    {Unary::exp, [](double x) { return std::exp(x); }},
    {Unary::log, [](double x) { return std::log(x); }},
    {Unary::sqrt, [](double x) { return std::sqrt(x); }},
    {Unary::rsqrt, [](double x) { return 1 / std::sqrt(x); }},
    {Unary::square, [](double x) { return x * x; }},
    {Unary::relu, [](double x) { return x < 0 ? 0.0 : x; }},
    {Unary::gelu, [](double x) { return x * normal_cdf(x); }},
    {Unary::sigmoid, sigmoid},
    {Unary::silu, [](double x) { return x * sigmoid(x); }},
    {Unary::hardswish, [](double x) { return x * std::clamp(x + 3, 0.0, 6.0) / 6; }},
    {Unary::tanh, [](double x) { return std::tanh(x); }},
    {Unary::softplus, [](double x) { return std::log(1 + std::exp(x)); }},
    {Unary::leaky_relu, [](double x) { return x < 0 ? 2.5 * x : x; }},
    {Unary::elu, [](double x) { return x < 0 ? 2.5 * std::expm1(x) : x; }},
    {Unary::clamp_min, [](double x) { return x < 2.5 ? 2.5 : x; }},
    {Unary::add_scalar, [](double x) { return x + 2.5; }},
    {Unary::mul_scalar, [](double x) { return x * 2.5; }}};

bool wants_positive(Unary op) {
  return op == Unary::log || op == Unary::sqrt || op == Unary::rsqrt;
}

double apply(Binary op, double a, double b) {
  switch (op) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::div:
      return a / b;
  }
  return 0;
}

// a op b by plain loops over the broadcast shape.
Doubles plain_binary(Binary op, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast(a.shape(), b.shape());
  const Doubles x = numbers(a.expand(shape)), y = numbers(b.expand(shape));
  Doubles out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = apply(op, x[i], y[i]);
  return out;
}

constexpr Binary kBinary[] = {Binary::add, Binary::sub, Binary::mul, Binary::div};

}  // namespace

TEST_CASE_TEMPLATE("elementwise: unary functions and their derivatives", T, float, double) {
  for (const auto& [op, f] : kUnary) {
    CAPTURE(static_cast<int>(op));
    const double lo = wants_positive(op) ? 0.3 : -4.5;
    const Tensor x = random_tensor<T>({3, 5, 7}, 1, lo, 4.5);
    const Tensor dy = random_tensor<T>({3, 5, 7}, 2);
    const Tensor y = tested().unary(op, x, 2.5);
    const Doubles v = numbers(x), d = numbers(dy);
    Doubles want(v.size()), gradient(v.size());
    for (std::size_t i = 0; i < v.size(); ++i) {
      want[i] = f(v[i]);
      gradient[i] = d[i] * (f(v[i] + 1e-5) - f(v[i] - 1e-5)) / 2e-5;
    }
    CHECK(worst(y, want) < tolerance<T>());
    const double close = std::is_same_v<T, float> ? 2e-5 : 1e-8;
    const Reads reads = facts_of(op).gradient_reads;
    const Tensor read = reads == Reads::x ? x : reads == Reads::y ? y : Tensor();
    CHECK(worst(tested().unary_backward(op, read, dy, 2.5), gradient) < close);
  }
}

TEST_CASE("elementwise: GELU is exact to 1e-6 from -50 to 50, and special values pass through") {
  std::vector<float> v;
  for (int i = -50000; i <= 50000; ++i) v.push_back(static_cast<float>(i) * 1e-3f);
  const Tensor x = Tensor::from(v, {static_cast<std::int64_t>(v.size())}, test_device());
  const Tensor one = Tensor::full(x.shape(), 1.0, DType::f32, test_device());
  const Doubles y = numbers(tested().unary(Unary::gelu, x, 0));
  const Doubles dx = numbers(tested().unary_backward(Unary::gelu, x, one, 0));
  Worst most, most_slope;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const double a = v[i], density = std::exp(-a * a / 2) / std::sqrt(2 * M_PI);
    // Beyond 8 a float cannot resolve 1e-6.
    if (a < 8) most.see(std::abs(y[i] - a * normal_cdf(a)));
    most_slope.see(std::abs(dx[i] - (normal_cdf(a) + a * density)));
  }
  CHECK(most.error() < 1e-6);
  CHECK(most_slope.error() < 1e-6);

  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor special =
      Tensor::from(std::vector<float>{nan, inf, -inf, 200, -200, 0}, {6}, test_device());
  for (const Unary op : {Unary::gelu, Unary::relu, Unary::sigmoid, Unary::tanh, Unary::exp,
                         Unary::silu, Unary::hardswish, Unary::clamp_min}) {
    CHECK(std::isnan(numbers(tested().unary(op, special, 0))[0]));
  }
  CHECK(worst(tested().unary(Unary::exp, special, 0), {nan, inf, 0, inf, 0, 1}, Nan::as_wanted) ==
        0);
  // The last that float can hold, the next, and a NaN of unusual bits.
  const Tensor edges =
      Tensor::from(std::vector<float>{88.7228317f, 88.7228394f, std::bit_cast<float>(0x7fc00001u)},
                   {3}, test_device());
  const Doubles exps = numbers(tested().unary(Unary::exp, edges, 0));
  CHECK(exps[0] == doctest::Approx(std::exp(88.7228317)).epsilon(1e-4));
  CHECK(std::isinf(exps[1]));
  CHECK(std::isnan(exps[2]));
  CHECK(worst(tested().unary(Unary::sigmoid, special, 0), {nan, 1, 0, 1, 0, 0.5}, Nan::as_wanted) ==
        0);
  CHECK(worst(tested().unary(Unary::tanh, special, 0), {nan, 1, -1, 1, -1, 0}, Nan::as_wanted) ==
        0);
}

TEST_CASE_TEMPLATE("elementwise: binary ops broadcast and take any strides", T, float, double) {
  const std::vector<std::pair<Shape, Shape>> shapes = {{{3, 5, 7}, {3, 5, 7}},
                                                       {{3, 5, 7}, {7}},
                                                       {{7}, {3, 5, 7}},
                                                       {{3, 5, 7}, {5, 1}},
                                                       {{3, 1, 7}, {5, 1}},
                                                       {{2, 3, 4, 5}, {2, 1, 1, 5}},
                                                       {{}, {4}},
                                                       {{}, {}},
                                                       {{1, 1}, {1}},
                                                       {{0, 3}, {3}},
                                                       {{2, 1, 3, 1}, {1, 5, 1, 4}}};
  for (const auto& [sa, sb] : shapes) {
    const Tensor a = random_tensor<T>(sa, 3), b = random_tensor<T>(sb, 4, 0.5, 2);
    for (const Binary op : kBinary) {
      CAPTURE(sa.str());
      CAPTURE(sb.str());
      const Tensor y = tested().binary(op, a, b);
      CHECK(y.shape() == broadcast(sa, sb));
      if (y.numel() > 0) CHECK(worst(y, plain_binary(op, a, b)) < tolerance<T>());
    }
  }
  const Tensor a = random_tensor<T>({4, 6, 5}, 5).permute({2, 0, 1});
  const Tensor b = random_tensor<T>({5, 8, 6}, 6, 0.5, 2).slice(1, 0, 8, 2);
  for (const Binary op : kBinary) {
    CHECK(worst(tested().binary(op, a, b), plain_binary(op, a, b)) < tolerance<T>());
  }
  // Rows longer than a piece of work.
  const Tensor wide = random_tensor<T>({3, 40001}, 7), column = random_tensor<T>({3, 1}, 8);
  CHECK(worst(tested().binary(Binary::mul, wide, column), plain_binary(Binary::mul, wide, column)) <
        tolerance<T>());
}

TEST_CASE("elementwise: every op has its name, and what is none is refused") {
  const Tensor x = random_tensor<float>({3}, 1);
  std::set<std::string> names;
  for (const auto& [op, f] : kUnary) {
    const UnaryFacts facts = facts_of(op);
    names.insert(facts.name);
    CHECK(std::string(facts.backward_name) == std::string(facts.name) + "_backward");
  }
  CHECK(names.size() == std::size(kUnary));
  CHECK(facts_of(Unary::mul_scalar).name == std::string("mul_scalar"));
  CHECK(name_of(Binary::div) == std::string("div"));
  CHECK_THROWS_AS(tested().unary(static_cast<Unary>(99), x, 0), Error);
  CHECK_THROWS_AS(tested().unary_backward(static_cast<Unary>(99), x, x, 0), Error);
  CHECK_THROWS_AS(tested().binary(static_cast<Binary>(99), x, x), Error);
}

TEST_CASE("elementwise: copy casts, broadcasts and follows strides") {
  const Tensor x = random_tensor<float>({2, 37, 19, 3}, 9, 0, 100);
  for (const DType dtype :
       {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8}) {
    const Tensor y = x.to(dtype);
    const Doubles v = numbers(x), w = numbers(y);
    for (std::size_t i = 0; i < v.size(); i += 17) {
      const double want = dtype == DType::f32 || dtype == DType::f64 ? v[i] : std::trunc(v[i]);
      if (dtype == DType::bf16) {
        CHECK(std::abs(w[i] - v[i]) <= v[i] / 256);
      } else {
        CHECK(w[i] == want);
      }
    }
  }
  const std::vector<std::vector<int>> orders = {{0, 3, 1, 2}, {3, 2, 1, 0}, {1, 0, 3, 2},
                                                {2, 0, 1, 3}, {0, 1, 3, 2}, {3, 0, 2, 1}};
  const Doubles v = numbers(x);
  for (const auto& order : orders) {
    const Tensor view = x.permute(order);
    const Doubles got = numbers(view.contiguous());
    Tensor back = Tensor::zeros(x.shape(), DType::f64, test_device());
    Tensor target = back.permute(order);  // a strided destination
    target.copy_(view);
    CHECK(numbers(back) == v);
    const Shape s = view.shape(), strides = view.strides();
    std::size_t i = 0;
    for (std::int64_t a = 0; a < s[0]; ++a)
      for (std::int64_t b = 0; b < s[1]; ++b)
        for (std::int64_t c = 0; c < s[2]; ++c)
          for (std::int64_t d = 0; d < s[3]; ++d, ++i)
            if (got[i] != v[at(a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3])])
              FAIL("permuted copy differs");
  }
  Tensor out = Tensor::zeros({2, 3, 4}, DType::f32, test_device());
  out.slice(2, 1, 4, 2).fill_(7);
  out.slice(1, 0, 1).copy_(Tensor::from(std::vector<double>{1, 2, 3, 4}, {4}, test_device()));
  CHECK(numbers(out) ==
        Doubles{1, 2, 3, 4, 0, 7, 0, 7, 0, 7, 0, 7, 1, 2, 3, 4, 0, 7, 0, 7, 0, 7, 0, 7});
}

TEST_CASE_TEMPLATE("elementwise: axpy and lerp in place", T, float, double) {
  const Tensor x = random_tensor<T>({70001}, 10);
  const Doubles a = numbers(x);
  Tensor y = random_tensor<T>({70001}, 11);
  Doubles b = numbers(y);
  const auto before = y.version();
  tested().axpy(y, x, 0.25);
  const auto between = y.version();
  CHECK(between > before);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] += 0.25 * a[i];
  CHECK(worst(y, b) < tolerance<T>());
  tested().lerp(y, x, 0.1);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] += 0.1 * (a[i] - b[i]);
  CHECK(worst(y, b) < tolerance<T>());
  CHECK(y.version() > between);
}
