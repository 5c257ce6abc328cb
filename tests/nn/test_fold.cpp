// A folded batch norm computes the same.
#include <doctest/doctest.h>

#include "nn/fold.h"
#include "tests/compare.h"
#include "tests/device.h"

using namespace nextgrad;

namespace {

Tensor random(const Shape& shape, std::uint64_t seed) {
  return backend_of(Device{})
      .random_uniform(shape, DType::f64, {.seed = seed})
      .to(test::test_device());
}
void randomise(Module& m, std::uint64_t seed) {
  m.to(DType::f64);
  m.to(test::test_device());
  for (const Parameter& p : m.named_parameters())
    p.value.set_value(random(p.value.shape(), seed++));
  for (const Buffer& b : m.named_buffers()) {
    if (is_floating(b.value->dtype())) *b.value = random(b.value->shape(), seed++);
  }
  m.eval();
}
double difference(const Variable& a, const Variable& b) {
  return test::difference(a.value(), b.value());
}

}  // namespace

TEST_CASE("norm after a convolution") {
  for (const bool bias : {true, false}) {
    const Conv2dOptions o{.in_channels = 4,
                          .out_channels = 6,
                          .window = same_window(3, 2),
                          .groups = 2,
                          .bias = bias};
    Conv2d conv(o);
    BatchNorm2d norm(6);
    randomise(conv, 1);
    randomise(norm, 10);
    const Variable x(random({2, 5, 7, 4}, 20));
    const Folded f = fold(conv, norm);
    CHECK(difference(norm(conv(x)), conv2d(x, Variable(f.weight), Variable(f.bias), o.window, 2)) <
          1e-12);
  }
  DepthwiseConv2d conv(3, same_window_2d(1, 5));
  BatchNorm2d norm(3);
  randomise(conv, 2);
  randomise(norm, 11);
  const Variable x(random({1, 4, 6, 3}, 21));
  const Folded f = fold(conv, norm);
  CHECK(difference(norm(conv(x)), depthwise_conv2d(x, Variable(f.weight), Variable(f.bias),
                                                   conv.window())) < 1e-12);
}

TEST_CASE("norm before a convolution without padding") {
  for (const int groups : {1, 2}) {
    for (const int kernel : {1, 3}) {
      const Conv2dOptions o{.in_channels = 4,
                            .out_channels = 6,
                            .window = {.kh = kernel, .kw = kernel},
                            .groups = groups,
                            .bias = groups == 1};
      Conv2d conv(o);
      BatchNorm2d norm(4);
      randomise(conv, 3);
      randomise(norm, 12);
      const Variable x(random({2, 5, 4, 4}, 22));
      const Folded f = fold(norm, conv);
      CHECK(difference(conv(norm(x)),
                       conv2d(x, Variable(f.weight), Variable(f.bias), o.window, groups)) < 1e-12);
    }
  }
  Conv2d padded({.in_channels = 4, .out_channels = 4, .window = same_window(3)});
  CHECK_THROWS_AS(fold(BatchNorm2d(4), padded), Error);
}
