// Layers: derivatives against differences, and what each promises.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/reduce.h"
#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/random.h"
#include "tests/device.h"

using namespace nextgrad;

namespace {

Variable random(const Shape& shape, std::uint64_t seed = 1) {
  return Variable(
      backend_of(Device{}).random_normal(shape, DType::f64, {.seed = seed}).to(test::test_device()),
      true);
}

// Derivatives in the input and in all parameters.
void check_layer(Module& layer, const Shape& input) {
  layer.to(DType::f64);
  layer.to(test::test_device());
  std::vector<Variable> inputs{random(input)};
  std::uint64_t seed = 2;
  for (const Parameter& p : layer.named_parameters()) {
    p.value.set_value(random(p.value.shape(), seed++).value());
    inputs.push_back(p.value);
  }
  const auto result =
      gradcheck([&](const std::vector<Variable>& in) { return layer(in[0]); }, inputs);
  CHECK_MESSAGE(result.ok(), result.where);
}

double mean_of(const Variable& x) {
  return mean(x).item();
}

}  // namespace

TEST_CASE("convolution layers") {
  Conv2d strided({.in_channels = 3, .out_channels = 4, .window = same_window(3, 2)});
  check_layer(strided, {2, 5, 7, 3});
  Window w{.kh = 2,
           .kw = 3,
           .stride_h = 1,
           .stride_w = 2,
           .pad_h = 0,
           .pad_w = 2,
           .dilation_h = 2,
           .dilation_w = 1};
  Conv2d grouped({.in_channels = 4, .out_channels = 6, .window = w, .groups = 2, .bias = false});
  check_layer(grouped, {1, 5, 4, 4});
  Conv2d one(pointwise(5, 3));
  check_layer(one, {2, 3, 4, 5});
  DepthwiseConv2d row(3, same_window_2d(1, 7)), column(3, same_window_2d(21, 1));
  check_layer(row, {1, 4, 9, 3});
  check_layer(column, {1, 9, 3, 3});
  CHECK(same_window(5, 2).out_h(9) == 5);
  CHECK_THROWS_AS(same_window(4), Error);
  CHECK_THROWS_AS(same_window_2d(3, 2), Error);
  CHECK_THROWS_AS(same_window_2d(0, 3), Error);
  CHECK_THROWS_AS(Conv2d({.in_channels = 3, .out_channels = 4, .groups = 2}), Error);
}

TEST_CASE("a 1x1 convolution is a linear layer, and activations are fused") {
  Conv2d conv(pointwise(6, 5));
  init_parameters(conv, 1);
  conv.to(DType::f64);
  conv.to(test::test_device());
  const Variable x = random({2, 3, 5, 6});
  const Variable plain = conv(x), fused = relu(conv(x));
  CHECK(sum(square(clamp_min(plain, 0) - fused)).item() < 1e-24);
  const Variable y = linear(x, Variable(conv.weight.value().reshape({5, 6})), conv.bias);
  CHECK(sum(square(plain - y)).item() < 1e-24);
  Conv2d strided({.in_channels = 6, .out_channels = 5, .window = {.stride_h = 2, .stride_w = 2}});
  strided.to(DType::f64);
  strided.to(test::test_device());
  CHECK(gelu(strided(x)).shape() == Shape{2, 2, 3, 5});
}

TEST_CASE("linear and normalisation layers") {
  Linear fc(5, 3), no_bias(5, 3, false);
  check_layer(fc, {4, 5});
  check_layer(no_bias, {2, 3, 5});
  LayerNorm ln(6);
  check_layer(ln, {2, 3, 6});
  GroupNorm gn(3, 6);
  check_layer(gn, {2, 3, 2, 6});
  BatchNorm2d bn(3);
  check_layer(bn, {2, 3, 4, 3});
  bn.eval();
  check_layer(bn, {2, 3, 4, 3});
  CHECK_THROWS_AS(GroupNorm(4, 6), Error);
}

TEST_CASE("batch norm's running statistics") {
  BatchNorm2d bn(2);
  bn.to(DType::f64);
  bn.to(test::test_device());
  // Channel 0: 1, 2, 3, 6 (mean 3, unbiased variance 14/3); channel 1: constant 5.
  const Variable x(
      Tensor::from(std::vector<double>{1, 5, 2, 5, 3, 5, 6, 5}, {1, 2, 2, 2}, test::test_device()));
  const auto y = bn(x).value().to_vector<double>();
  CHECK(y[0] == doctest::Approx(-2 / std::sqrt(3.5 + 1e-5)));
  CHECK(y[1] == doctest::Approx(0));
  const auto mean = bn.running_mean.to_vector<double>(), var = bn.running_var.to_vector<double>();
  CHECK(mean[0] == doctest::Approx(0.3));
  CHECK(mean[1] == doctest::Approx(0.5));
  CHECK(var[0] == doctest::Approx(0.9 + 0.1 * 14 / 3));
  CHECK(var[1] == doctest::Approx(0.9));
  CHECK(bn.num_batches_tracked.item() == 1);
  bn.eval();
  const auto z = bn(x).value().to_vector<double>();
  CHECK(z[0] == doctest::Approx((1 - mean[0]) / std::sqrt(var[0] + 1e-5)));
  CHECK(bn.num_batches_tracked.item() == 1);
  bn.train();
  CHECK_THROWS_AS(bn(random({1, 1, 1, 2})), Error);  // one value has no variance
}

TEST_CASE("dropout: share of zeros, mean, whole channels, whole samples, evaluation") {
  const RandomScope scope(7, 0);
  const Variable ones(Tensor::full({20, 10, 10, 20}, 1, DType::f64, test::test_device()), true);
  Dropout dropout(0.3);
  const auto v = dropout(ones).value().to_vector<double>();
  double zeros = 0;
  for (const double e : v) {
    CHECK((e == 0 || e == doctest::Approx(1 / 0.7)));
    zeros += e == 0 ? 1 : 0;
  }
  // 40000 draws: deviation 0.0023.
  CHECK(zeros / 40000 == doctest::Approx(0.3).epsilon(0.04));
  CHECK(dropout(ones).value().to_vector<double>() != v);

  ChannelDropout channels(0.5);
  const Variable c = channels(ones);
  const auto per_channel = mean(c, {1, 2}).value().to_vector<double>();
  for (const double e : per_channel) CHECK((e == 0 || e == doctest::Approx(2)));
  CHECK(mean_of(c) == doctest::Approx(1).epsilon(0.25));  // 400 draws: deviation 0.05

  DropPath path(0.2);
  const Variable many(Tensor::full({2000, 3}, 1, DType::f64, test::test_device()));
  const auto per_sample = path(many).value().to_vector<double>();
  for (std::size_t i = 0; i < per_sample.size(); i += 3) {
    CHECK(per_sample[i] == per_sample[i + 1]);
    CHECK((per_sample[i] == 0 || per_sample[i] == doctest::Approx(1.25)));
  }
  CHECK(mean_of(path(many)) == doctest::Approx(1).epsilon(0.06));  // deviation 0.011

  for (Module* m : std::vector<Module*>{&dropout, &channels, &path}) {
    m->eval();
    CHECK(sum(square((*m)(ones)-ones)).item() == 0);
  }
  CHECK(path(ones).value().shares_storage(ones.value()));
  for (const double p : {-0.1, 1.0}) {
    CHECK_THROWS_AS(Dropout{p}, Error);
    CHECK_THROWS_AS(ChannelDropout{p}, Error);
    CHECK_THROWS_AS(DropPath{p}, Error);
  }
}

TEST_CASE(
    "masks drawn at once are those drawn one by one, and those not announced are drawn alone") {
  const DropPath paths[] = {DropPath(0.2), DropPath(0.5), DropPath(0.2)};
  const Variable ones(Tensor::full({40, 3}, 1, DType::f64, test::test_device()));
  const auto values = [&] {
    std::vector<std::vector<double>> all;
    for (const DropPath& path : paths) all.push_back(path(ones).value().to_vector<double>());
    return all;
  };
  const RandomScope alone(5, 1);
  const auto want = values();
  for (const std::vector<double>& announced :
       {std::vector<double>{0.2, 0.5, 0.2}, {0.2}, {0.3, 0.5, 0.2, 0.7}, {}}) {
    const RandomScope again(5, 1);
    const DrawnMasks masks(ones.backend(), 40, DType::f64, announced);
    CHECK(values() == want);
  }
  const RandomScope again(5, 1);
  const DrawnMasks others(ones.backend(), 41, DType::f64, {0.2, 0.5, 0.2});
  CHECK(values() == want);
}

TEST_CASE("dropout's derivative") {
  for (const int kind : {0, 1, 2}) {
    Dropout a(0.4);
    ChannelDropout b(0.4);
    DropPath c(0.4);
    Module& layer = kind == 0 ? static_cast<Module&>(a) : kind == 1 ? static_cast<Module&>(b) : c;
    const auto fn = [&](const std::vector<Variable>& in) {
      const RandomScope scope(5, 1);  // the same mask at every call
      return layer(in[0]);
    };
    CHECK(gradcheck(fn, {random({4, 2, 3, 5})}).ok());
  }
}
