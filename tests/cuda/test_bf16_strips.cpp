// MSCA's strips on bf16 activations, against the same in f32 on the same rounded numbers: the fused
// kernels and the composition for other sizes.
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

constexpr double kRounding = 1.0 / 128;  // of a result, against 1 + its size

void check_strips(const Shape& shape, const std::vector<int>& sizes, bool biased) {
  CAPTURE(shape.str());
  const std::int64_t c = shape[3];
  const Tensor x = random_tensor<float>(shape, 1).to(DType::bf16);
  const Tensor dy = random_tensor<float>(shape, 2).to(DType::bf16);
  const Tensor wide_x = x.to(DType::f32), wide_dy = dy.to(DType::f32);
  std::vector<Strip> strips;
  std::uint64_t seed = 3;
  for (const int k : sizes) {
    const Tensor row = random_tensor<float>({1, k, c}, seed, -0.5, 0.5);
    const Tensor column = random_tensor<float>({k, 1, c}, seed + 1, -0.5, 0.5);
    const Tensor a = random_tensor<float>({c}, seed + 2), b = random_tensor<float>({c}, seed + 3);
    strips.push_back({row, biased ? a : Tensor(), column, biased ? b : Tensor()});
    seed += 4;
  }
  const Tensor y = tested().strips(x, strips);
  CHECK(y.dtype() == DType::bf16);
  CHECK(worst(y, tested().strips(wide_x, strips)) < kRounding);

  const StripsGradients g = tested().strips_backward(x, strips, dy);
  const StripsGradients want = tested().strips_backward(wide_x, strips, wide_dy);
  CHECK(g.dx.dtype() == DType::bf16);
  CHECK(worst(g.dx, want.dx) < kRounding);
  for (std::size_t i = 0; i < strips.size(); ++i) {
    const auto same = [](const Tensor& got, const Tensor& f32) {
      CHECK(got.defined() == f32.defined());
      if (!got.defined()) return;
      CHECK(got.dtype() == DType::f32);
      // Nothing is rounded to bf16 on the way.
      CHECK(worst(got, f32) < tolerance<float>());
    };
    same(g.dstrips[i].row, want.dstrips[i].row);
    same(g.dstrips[i].row_bias, want.dstrips[i].row_bias);
    same(g.dstrips[i].column, want.dstrips[i].column);
    same(g.dstrips[i].column_bias, want.dstrips[i].column_bias);
  }
}

}  // namespace

TEST_CASE("bf16: strips") {
  for (const bool biased : {true, false}) {
    check_strips({1, 1, 1, 1}, {7, 11, 21}, biased);
    check_strips({2, 33, 19, 36}, {7, 11, 21}, biased);
    check_strips({1, 25, 34, 5}, {7, 11, 21}, biased);
    check_strips({1, 9, 8, 12}, {3, 9}, biased);
  }
}
