// SegNeXt in mixed precision, and in TF32: losses and gradients near those of f32, weights in f32.
#include "models/segmenter.h"
#include "nn/optim.h"
#include "nn/random.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

struct Run {
  std::vector<double> losses;
  Doubles gradient;  // of the first step, all parameters
};

using Kind = DecoderConfig::Kind;

Run train(DType activations, bool recompute = false, ModelConfig config = model_config("nano", 5),
          std::int64_t batch = 2) {
  config.encoder.drop_path = 0;
  config.encoder.recompute = recompute;
  config.decoder.dropout = 0;
  Segmenter model(config);
  init_parameters(model, 3);
  model.to(test_device());
  if (activations == DType::bf16) model.encoder().set_activations(activations);
  AdamW optimizer(model.named_parameters(), {}, segmenter_rules());
  const Variable images(random_tensor<float>({batch, 48, 64, 3}, 1));
  const Tensor labels = random_labels({batch, 48, 64}, 2, 5, 255);
  Run run;
  for (int step = 0; step < 4; ++step) {
    const RandomScope random(1, 1);
    optimizer.zero_grad();
    const Variable logits = model(images);
    CHECK(logits.dtype() == DType::f32);
    const Variable loss = model.loss(logits, labels);
    CHECK(loss.dtype() == DType::f32);
    loss.backward();
    for (const Parameter& p : model.named_parameters()) {
      CHECK(p.value.dtype() == DType::f32);
      REQUIRE_MESSAGE(p.value.grad().dtype() == DType::f32, p.name);
      if (step > 0) continue;
      const Doubles g = numbers(p.value.grad());
      run.gradient.insert(run.gradient.end(), g.begin(), g.end());
    }
    run.losses.push_back(loss.item());
    optimizer.step(2e-4);
  }
  return run;
}

// The cosine of the angle between two gradients.
double cosine(const Doubles& a, const Doubles& b) {
  REQUIRE(a.size() == b.size());
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

}  // namespace

TEST_CASE("bf16: SegNeXt learns as in f32") {
  const Run f32 = train(DType::f32), bf16 = train(DType::bf16);
  CHECK(f32.losses.back() < f32.losses.front());
  for (std::size_t i = 0; i < f32.losses.size(); ++i)
    CHECK(bf16.losses[i] == doctest::Approx(f32.losses[i]).epsilon(0.02));
  CHECK(cosine(f32.gradient, bf16.gradient) > 0.98);
  // Recomputed activations are the same ones.
  const Run again = train(DType::bf16, true);
  CHECK(again.losses.front() == bf16.losses.front());
  CHECK(cosine(again.gradient, bf16.gradient) > 0.9999);
}

TEST_CASE("bf16: every decoder learns as in f32") {
  for (const Kind kind : {Kind::cc, Kind::ema, Kind::nonlocal, Kind::msca, Kind::aspp, Kind::uper}) {
    CAPTURE(static_cast<int>(kind));
    // Batch norm of two images' means makes them 1 and -1, by the sign of rounding.
    const std::int64_t batch = kind == Kind::uper ? 6 : 2;
    ModelConfig config = model_config("nano", 5);
    config.decoder.kind = kind;
    const Run f32 = train(DType::f32, false, config, batch),
              bf16 = train(DType::bf16, false, config, batch);
    CHECK(f32.losses.back() < f32.losses.front());
    for (std::size_t i = 0; i < f32.losses.size(); ++i)
      CHECK(bf16.losses[i] == doctest::Approx(f32.losses[i]).epsilon(0.03));
    CHECK(cosine(f32.gradient, bf16.gradient) > 0.97);
  }
}

TEST_CASE("bf16: SegFormer learns as in f32") {
  ModelConfig b0 = model_config("b0", 5);
  b0.encoder.channels = {16, 32, 40, 64};
  b0.decoder.width = 64;
  const Run f32 = train(DType::f32, false, b0), bf16 = train(DType::bf16, false, b0);
  CHECK(f32.losses.back() < f32.losses.front());
  for (std::size_t i = 0; i < f32.losses.size(); ++i)
    CHECK(bf16.losses[i] == doctest::Approx(f32.losses[i]).epsilon(0.02));
  CHECK(cosine(f32.gradient, bf16.gradient) > 0.98);
  const Run again = train(DType::bf16, true, b0);
  CHECK(again.losses.front() == bf16.losses.front());
}

TEST_CASE("tf32: products only, near f32") {
  const Tensor a = random_tensor<float>({1, 64, 64}, 1), b = random_tensor<float>({1, 64, 64}, 2);
  const Tensor exact = tested().matmul(a, b, false, false);
  tested().allow_tf32(true);
  const Tensor rounded = tested().matmul(a, b, false, false);
  tested().allow_tf32(false);
  CHECK(worst(rounded, exact) < 0.05);  // of 64 products of up to 4, rounded or cut to 10 bits
  CHECK(numbers(tested().matmul(a, b, false, false)) == numbers(exact));
}

TEST_CASE("bf16 is not computed on the CPU") {
  const Variable x(Tensor::zeros({1, 32, 32, 3}));
  Segmenter model(model_config("nano", 3));
  init_parameters(model, 1);
  model.encoder().set_activations(DType::bf16);
  CHECK_THROWS_WITH_AS(model(x), doctest::Contains("computes in f32 or f64, got bf16"), Error);
}
