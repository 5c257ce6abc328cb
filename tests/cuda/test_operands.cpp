// Weights as products read them: made when they have changed, by one kernel; and as captures find
// them.
#include "autograd/matmul.h"
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/optim.h"
#include "tensor/profile.h"
#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// What the device is told by `work`.
template <class Work>
std::int64_t launches(const Work& work) {
  const Profile profile;
  work();
  std::int64_t sum = 0;
  for (const auto& [name, cost] : profile.ops()) sum += cost.launches;
  return sum;
}

struct Layers {
  Tensor x = rounded({6, 8}, 1).bf16;
  std::vector<Tensor> weights, biases;
  Layers() {
    for (std::uint64_t i = 0; i < 3; ++i) {
      weights.push_back(random_tensor<float>({8, 8}, 2 + i));
      biases.push_back(random_tensor<float>({8}, 12 + i));
    }
  }
  Tensor operator()() const {
    Tensor y = x;
    for (std::size_t i = 0; i < 3; ++i)
      y = tested().linear(y, weights[i], biases[i], Activation::none, nullptr);
    return y;
  }
  Tensor wanted() const {  // by weights that nobody has seen
    Layers fresh = *this;
    for (Tensor& w : fresh.weights) w = w.clone();
    for (Tensor& b : fresh.biases) b = b.clone();
    return fresh();
  }
};

}  // namespace

TEST_CASE("operands: weights are cast when they have changed, all by one launch") {
  Layers layers;
  const Tensor first = layers();
  CHECK(numbers(first) == numbers(layers.wanted()));
  CHECK(launches([&] { layers(); }) == 3);
  for (Tensor& w : layers.weights) w.fill_(0.25);
  layers.biases[1].fill_(-1);
  CHECK(launches([&] { layers(); }) == 4);
  CHECK(numbers(layers()) == numbers(layers.wanted()));
  CHECK(numbers(layers()) != numbers(first));
}

TEST_CASE("operands: what was made of a weight goes with it") {
  tested().synchronize();
  const std::size_t before = tested().memory().live;
  {
    const Layers layers;
    const Tensor y = layers();
    CHECK(tested().memory().live > before);
  }
  CHECK(tested().memory().live == before);
  // Another weight at its address is another.
  for (const double value : {1.0, 2.0}) {
    const Tensor w = Tensor::full({8, 8}, value, DType::f32, test_device());
    const Tensor y = tested().linear(Layers().x, w, {}, Activation::none, nullptr);
    check_activation(y,
                     tested().linear(Layers().x.to(DType::f32), w, {}, Activation::none, nullptr));
  }
}

TEST_CASE("operands: scaled rows follow the weight and the scale") {
  const Rounded x = rounded({2, 5, 8}, 1), dy = rounded({2, 5, 6}, 2);
  LinearBranch b{.weight = random_tensor<float>({6, 8}, 3), .s = random_tensor<float>({6}, 4)};
  const auto check_gradient = [&] {
    const Needs needs{true, true, false};
    const auto got = tested().linear_residual_backward(x.bf16, b, dy.bf16, needs, true);
    const LinearBranch fresh{.weight = b.weight.clone(), .s = b.s.clone()};
    const auto want = tested().linear_residual_backward(x.f32, fresh, dy.f32, needs, true);
    CHECK(worst(got.dx, want.dx) < 2 * kRounded);
    CHECK(worst(got.ds, want.ds) < kRounded);
  };
  check_gradient();
  b.s.fill_(-0.5);
  check_gradient();
  b.weight.fill_(0.75);
  check_gradient();
  b.s = random_tensor<float>({6}, 5);
  check_gradient();
}

TEST_CASE("operands: a capture's replays read the weights of their time") {
  Layers layers;
  Tensor y;
  SUBCASE("used before") {
    layers();
  }
  SUBCASE("met first in the capture") {}
  const auto capture = tested().capture([&] { y = layers(); });
  CHECK(numbers(layers()) == numbers(layers.wanted()));  // not what a replay has yet to make
  capture->replay();
  CHECK(numbers(y) == numbers(layers.wanted()));
  for (Tensor& w : layers.weights) w.copy_(random_tensor<float>({8, 8}, 77));
  capture->replay();
  CHECK(numbers(y) == numbers(layers.wanted()));
  CHECK(numbers(layers()) == numbers(layers.wanted()));
  layers.biases[2].fill_(3);
  layers();  // which makes them, and not the capture
  capture->replay();
  CHECK(numbers(y) == numbers(layers.wanted()));
}

TEST_CASE("operands: a capture that changes its weights reads the changed ones") {
  Layers layers;
  layers();
  Tensor before, after;
  const auto capture = tested().capture([&] {
    before = layers();
    layers.weights[0].add_(layers.weights[1]);
    after = layers();
  });
  for (int i = 0; i < 3; ++i) {
    const Tensor was = layers.wanted();
    capture->replay();
    CHECK(numbers(before) == numbers(was));
    CHECK(numbers(after) == numbers(layers.wanted()));
    CHECK(numbers(layers()) == numbers(layers.wanted()));
  }
}

TEST_CASE("operands: rows are padded for patches, in every dtype") {
  const Rounded image = rounded({2, 6, 5, 3}, 1);
  Tensor weight = random_tensor<float>({4, 3, 3, 3}, 2);
  const Window window{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  for (int i = 0; i < 2; ++i) {
    const Tensor wide = tested().conv2d(image.f32, weight, {}, window, 1);
    const Tensor host =
        backend_of({}).conv2d(image.f32.to(Device{}), weight.to(Device{}), {}, window, 1);
    CHECK(worst(wide, host) < tolerance<float>());
    check_activation(
        tested().conv2d(image.bf16, weight, {}, window, 1),
        tested().conv2d(image.f32, weight.to(DType::bf16).to(DType::f32), {}, window, 1));
    weight.copy_(random_tensor<float>({4, 3, 3, 3}, 3));
  }
}
