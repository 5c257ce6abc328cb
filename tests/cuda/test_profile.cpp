// Ops have the same names and cost as many FLOPs on a GPU as on the CPU, so that tables of profiles
// can be joined.
#include "models/segmenter.h"
#include "nn/optim.h"
#include "nn/random.h"
#include "tensor/profile.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

// Of a prediction and a training step.
std::map<std::string, OpCost> ops_on(Device device) {
  Segmenter model(model_config("nano", 5));
  init_parameters(model, 1);
  model.to(device);
  AdamW optimizer(model.named_parameters(), {}, segmenter_rules());
  const Tensor image = backend_of({}).random_uniform({2, 48, 40, 3}, DType::f32, {7, 0, 0, 0});
  const Tensor labels = Tensor::zeros({2, 48, 40}, DType::i32);
  const Variable x(image.to(device));
  const Tensor wanted = labels.to(device);
  const Profile profile;
  {
    const NoGrad off;
    model.eval();
    model.predict(model(x), 48, 40);
  }
  model.train();
  const RandomScope scope(1, 1);
  model.loss(model(x), wanted).backward();
  optimizer.step(1e-3);
  return profile.ops();
}

}  // namespace

TEST_CASE("ops have the CPU's names and FLOPs") {
  const auto cpu = ops_on({}), device = ops_on(test_device());
  for (const auto& [name, cost] : cpu) {
    CAPTURE(name);
    // Copies between dtypes, devices and strides are each device's own.
    if (name == "copy" || name == "fill") continue;
    REQUIRE(device.contains(name));
    CHECK(device.at(name).calls == cost.calls);
    CHECK(device.at(name).flops == doctest::Approx(cost.flops).epsilon(0.01));
    CHECK(device.at(name).f32_product_flops ==
          doctest::Approx(cost.f32_product_flops).epsilon(0.01));
  }
  for (const auto& [name, cost] : device) {
    CAPTURE(name);
    CHECK((name == "copy" || name == "fill" || cpu.contains(name)));
  }
}

TEST_CASE("profile: products are told by their numbers, and held to a peak of their own") {
  const Tensor x = random_tensor<float>({2, 3, 4, 64}, 1), w = random_tensor<float>({64, 64}, 2);
  const Tensor taps = random_tensor<float>({3, 3, 64}, 3), bias = random_tensor<float>({64}, 4);
  const FeedForwardWeights f{w, bias, taps, bias, w, bias};
  const auto costs_of = [&](DType dtype) {
    const Tensor input = x.to(dtype), rows = input.reshape({24, 64});
    const Profile profile;
    tested().linear(rows, w, {}, Activation::none, nullptr);
    tested().feed_forward(input, input, f);
    tested().unary(Unary::exp, input, 0);
    return profile.ops();
  };
  const auto f32 = costs_of(DType::f32), bf16 = costs_of(DType::bf16);
  for (const char* name : {"linear", "feed_forward", "exp"}) {
    CAPTURE(name);
    const OpCost &a = f32.at(name), &b = bf16.at(name);
    CHECK(a.bf16_product_flops == 0);
    CHECK(b.f32_product_flops == 0);
    CHECK(a.f32_product_flops == b.bf16_product_flops);
  }
  CHECK(bf16.at("linear").bf16_product_flops == bf16.at("linear").flops);
  CHECK(bf16.at("feed_forward").bf16_product_flops > 0);
  CHECK(bf16.at("feed_forward").bf16_product_flops < bf16.at("feed_forward").flops);
  CHECK(bf16.at("exp").bf16_product_flops == 0);

  const Roofline exact = tested().roofline();
  CHECK(exact.bf16_product_flops > 0);
  CHECK(exact.f32_product_flops == exact.flops);
  tested().allow_tf32(true);
  CHECK(tested().roofline().f32_product_flops > 0);
  tested().allow_tf32(false);
}
