#include "tensor/ops.h"
#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE("bf16 reduce: every set of axes, long sums, argmax, norm") {
  Backend& b = tested();
  for (const Shape& shape : {Shape{3, 5, 7, 16}, Shape{2, 3, 5, 7}, Shape{1, 2, 700, 24}}) {
    const Rounded x = rounded(shape, 1);
    for (int set = 0; set < 16; ++set) {
      std::vector<int> axes;
      for (int a = 0; a < 4; ++a) {
        if ((set >> a & 1) != 0) axes.push_back(a);
      }
      for (const Reduce op : {Reduce::sum, Reduce::mean}) {
        CAPTURE(set);
        check_activation(b.reduce(op, x.bf16, axes), b.reduce(op, x.f32, axes));
      }
    }
    for (int a = 0; a < 4; ++a) CHECK(numbers(b.argmax(x.bf16, a)) == numbers(b.argmax(x.f32, a)));
    CHECK(b.norm({x.bf16}).item() == doctest::Approx(b.norm({x.f32}).item()).epsilon(1e-12));
    CHECK(all_finite(x.bf16));
  }
  const Rounded line = rounded({1, 300001}, 2, 0, 1);
  check_activation(b.reduce(Reduce::sum, line.bf16, {1}), b.reduce(Reduce::sum, line.f32, {1}));
}

TEST_CASE("bf16 softmax and gather") {
  Backend& b = tested();
  for (const Shape& shape : {Shape{37, 19}, Shape{2, 1}, Shape{3, 2000}}) {
    const Rounded x = rounded(shape, 1, -5, 5), dy = rounded(shape, 2);
    for (const bool log : {false, true}) {
      check_activation(b.softmax(x.bf16, log), b.softmax(x.f32, log));
      const Tensor y = b.softmax(x.bf16, log);
      check_activation(b.softmax_backward(y, dy.bf16, log),
                       b.softmax_backward(y.to(DType::f32), dy.f32, log));
    }
  }
  const Rounded x = rounded({4, 5}, 3), dy = rounded({4, 200}, 4);
  std::vector<std::int64_t> chosen(800);
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = static_cast<std::int64_t>(i * 7 % 5);
  const Tensor index = Tensor::from(chosen, {4, 200}, test_device());
  CHECK(numbers(b.gather(x.bf16, 1, index)) == numbers(b.gather(x.f32, 1, index)));
  check_activation(b.gather_backward({4, 5}, 1, index, dy.bf16),
                   b.gather_backward({4, 5}, 1, index, dy.f32));
}

TEST_CASE("bf16 random: the numbers of f32, rounded") {
  const RandomKey key{7, 3, 2, 1};
  const Tensor u = tested().random_uniform({1003}, DType::f32, key);
  CHECK(numbers(tested().random_uniform({1003}, DType::bf16, key)) == numbers(u.to(DType::bf16)));
  const Tensor mask = tested().dropout_mask({1003}, DType::f32, 0.3, key);
  CHECK(numbers(tested().dropout_mask({1003}, DType::bf16, 0.3, key)) ==
        numbers(mask.to(DType::bf16)));
}

TEST_CASE("random: the numbers of the CPU") {
  const RandomKey key{11, 1ull << 33, 5, 6};
  Backend& cpu = backend_of(Device{});
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor u = tested().random_uniform({4099}, dtype, key);
    CHECK(numbers(u) == numbers(cpu.random_uniform({4099}, dtype, key)));
    for (const double p : {0.0, 0.1, 0.25, 1.0 / 3, 1.0}) {
      CHECK(numbers(tested().dropout_mask({4099}, dtype, p, key)) ==
            numbers(cpu.dropout_mask({4099}, dtype, p, key)));
    }
    CHECK(worst(tested().random_normal({4099}, dtype, key), cpu.random_normal({4099}, dtype, key)) <
          1e-6);
  }
}
