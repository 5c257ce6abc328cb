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
  }
  for (const auto& [name, cost] : device) {
    CAPTURE(name);
    CHECK((name == "copy" || name == "fill" || cpu.contains(name)));
  }
}
