#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE_TEMPLATE("optimizer: AdamW over three steps", T, float, double) {
  for (const std::int64_t n : {1, 7, 40003}) {
    Tensor p = random_tensor<T>({n}, 1);
    Tensor m = Tensor::zeros({n}, dtype_of<T>, test_device()),
           v = Tensor::zeros({n}, dtype_of<T>, test_device());
    Doubles wp = numbers(p), wm(at(n)), wv(at(n));
    for (int step = 1; step <= 3; ++step) {
      const Tensor grad = random_tensor<T>({n}, 10 + static_cast<std::uint64_t>(step), -0.1, 0.1);
      const Doubles g = numbers(grad);
      const double lr = 0.01 * step, b1 = 0.9, b2 = 0.999, eps = 1e-8, decay = 0.05;
      for (std::size_t i = 0; i < g.size(); ++i) {
        wp[i] -= lr * decay * wp[i];
        wm[i] = b1 * wm[i] + (1 - b1) * g[i];
        wv[i] = b2 * wv[i] + (1 - b2) * g[i] * g[i];
        const double mean = wm[i] / (1 - std::pow(b1, step));
        const double square = wv[i] / (1 - std::pow(b2, step));
        wp[i] -= lr * mean / (std::sqrt(square) + eps);
      }
      const auto version = p.version();
      std::vector<OptimizerSlot> slots = {{p, grad, m, v, lr, decay, step}};
      tested().adamw(slots, {.beta1 = b1, .beta2 = b2, .eps = eps}, {});
      CHECK(p.version() > version);
    }
    CHECK(worst(p, wp) < tolerance<T>());
    CHECK(worst(m, wm) < tolerance<T>());
    CHECK(worst(v, wv) < tolerance<T>());
  }
}

TEST_CASE_TEMPLATE("optimizer: SGD with momentum, Nesterov and decay", T, float, double) {
  for (const bool nesterov : {false, true}) {
    const std::int64_t n = 40003;
    Tensor p = random_tensor<T>({n}, 1);
    Tensor buffer = Tensor::full({n}, std::nan(""), dtype_of<T>,
                                 test_device());  // the first step does not read it
    Doubles wp = numbers(p), wb(at(n));
    for (int step = 0; step < 3; ++step) {
      const Tensor grad = random_tensor<T>({n}, 20 + static_cast<std::uint64_t>(step));
      const Doubles g = numbers(grad);
      for (std::size_t i = 0; i < g.size(); ++i) {
        const double d = g[i] + 0.01 * wp[i];
        wb[i] = step == 0 ? d : 0.9 * wb[i] + d;
        wp[i] -= 0.1 * (nesterov ? d + 0.9 * wb[i] : wb[i]);
      }
      std::vector<OptimizerSlot> slots = {{p, grad, buffer, {}, 0.1, 0.01, step + 1}};
      tested().sgd(slots, {.momentum = 0.9, .nesterov = nesterov}, {});
    }
    CHECK(worst(p, wp) < tolerance<T>());
    CHECK(worst(buffer, wb) < tolerance<T>());
  }
}

TEST_CASE_TEMPLATE("optimizer: many parameters at once, clipped by their norm", T, float, double) {
  std::vector<OptimizerSlot> slots;
  std::vector<Doubles> want;
  for (std::int64_t i = 0; i < 700; ++i) {  // more than one launch of a GPU takes
    const Shape shape{i % 5 == 0 ? 1 + 4099 * (i % 2) : i};
    const Tensor p = random_tensor<T>(shape, 1), grad = random_tensor<T>(shape, 2);
    const Tensor m = Tensor::zeros(shape, dtype_of<T>, test_device());
    slots.push_back({p, grad, m, {}, 0.1 * static_cast<double>(i % 3), 0, 1});
    Doubles w = numbers(p);
    const Doubles g = numbers(grad);
    for (std::size_t k = 0; k < w.size(); ++k) w[k] -= slots.back().lr * g[k] * 0.5;
    want.push_back(w);
  }
  const auto scalar = [](double v) { return Tensor::scalar(v, DType::f64, test_device()); };
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    const Doubles before = numbers(slots[7].p);
    tested().sgd(slots, {.momentum = 0}, {scalar(bad), 4});
    CHECK(numbers(slots[7].p) == before);
  }
  tested().sgd(slots, {.momentum = 0}, {scalar(8), 4});
  for (std::size_t i = 0; i < slots.size(); ++i)
    if (slots[i].p.numel() > 0) CHECK(worst(slots[i].p, want[i]) < tolerance<T>());
  double squares = 0;
  std::vector<Tensor> gradients;
  for (const OptimizerSlot& slot : slots) {
    gradients.push_back(slot.grad);
    for (const double g : numbers(slot.grad)) squares += g * g;
  }
  CHECK(tested().norm(gradients).item() == doctest::Approx(std::sqrt(squares)).epsilon(1e-9));
}
