#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE("bf16 residual: sum, gradients, gate") {
  Backend& b = tested();
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 1}, Shape{3, 8}, Shape{2, 300, 72}}) {
    CAPTURE(shape.str());
    const std::int64_t n = shape[0], c = shape[shape.size() - 1];
    const Rounded x = rounded(shape, 1), branch = rounded(shape, 2), dy = rounded(shape, 3);
    for (const bool scaled : {false, true}) {
      for (const bool masked : {false, true}) {
        const Tensor s = scaled ? random_tensor<float>({c}, 4) : Tensor();
        const Tensor mask = masked ? random_tensor<float>({n}, 5) : Tensor();
        check_activation(b.residual(x.bf16, branch.bf16, s, mask),
                         b.residual(x.f32, branch.f32, s, mask));
        const auto got = b.residual_backward(branch.bf16, s, mask, dy.bf16, true);
        const auto want = b.residual_backward(branch.f32, s, mask, dy.f32, true);
        check_activation(got.dbranch, want.dbranch);
        if (scaled) check_parameter(got.ds, want.ds);
      }
    }
    const auto [da, du] = b.gate_backward(x.bf16, branch.bf16, dy.bf16);
    const auto [wa, wu] = b.gate_backward(x.f32, branch.f32, dy.f32);
    check_activation(da, wa);
    check_activation(du, wu);
  }
}
