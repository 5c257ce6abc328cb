// Memory of a device over many steps: what is in use and what is reserved stay as they are.
#include "autograd/loss.h"
#include "nn/linear.h"
#include "nn/optim.h"
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE("memory: nothing leaks over 10,000 steps, submitted or replayed") {
  Backend& b = tested();
  Linear layer(8, 3);
  init_parameters(layer, 1);
  layer.to(test_device());
  SGD optimizer(layer.named_parameters(), {.momentum = 0.9});
  const Variable x(random_tensor<float>({16, 8}, 1));
  const Tensor labels = random_labels({16}, 2, 3, 255);
  Tensor loss;
  const auto step = [&] {
    layer.zero_grad();
    const Variable value = cross_entropy(layer(x), labels);
    value.backward();
    loss = value.value();
    optimizer.step(1e-3, {grad_norm(layer.named_parameters()), 1});
  };
  for (int i = 0; i < 10; ++i) step();
  const double first = loss.item();
  const MemoryStats before = b.memory();
  for (int i = 0; i < 10000; ++i) step();
  CHECK(b.memory().live == before.live);
  CHECK(b.memory().reserved == before.reserved);
  CHECK(loss.item() < first);
  const auto capture = b.capture(step);
  REQUIRE(capture != nullptr);
  const std::size_t reserved = b.memory().reserved;
  for (int i = 0; i < 10000; ++i) capture->replay();
  CHECK(b.memory().live == before.live);
  CHECK(b.memory().reserved == reserved);
  CHECK(std::isfinite(loss.item()));
}

TEST_CASE("memory: what does not fit is refused in one line, and what does is not") {
  Backend& b = tested();
  try {
    Tensor::empty({std::int64_t{1} << 48}, DType::f32, test_device());
    FAIL("there was no such memory");
  } catch (const Error& e) {
    const std::string text = e.what();
    INFO(text);
    for (const char* part : {"out of memory on the GPU", "in use by tensors", "lower the batch"})
      CHECK(text.find(part) != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
  }
  CHECK(Tensor::full({1000}, 2, DType::f32, test_device()).to_vector<double>() ==
        Doubles(1000, 2.0));
  b.synchronize();
}
