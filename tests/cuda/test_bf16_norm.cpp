#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

const Shape kShapes[] = {Shape{2, 3, 5, 7},  Shape{1, 8},       Shape{3, 24},
                         Shape{2, 9, 5, 40}, Shape{2, 70, 600}, Shape{3, 11, 37, 16}};

void check_norm(const NormResult& got, const NormResult& want) {
  check_activation(got.y, want.y);
  check_parameter(got.mean, want.mean);
  check_parameter(got.rstd, want.rstd);
}
void check_gradients(const NormGradients& got, const NormGradients& want) {
  check_activation(got.dx, want.dx);
  check_parameter(got.dgamma, want.dgamma);
  check_parameter(got.dbeta, want.dbeta);
}

}  // namespace

TEST_CASE("bf16 norm: batch, layer and group norm with their gradients") {
  Backend& b = tested();
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.str());
    const std::int64_t c = shape[shape.size() - 1];
    const Rounded x = rounded(shape, 1), dy = rounded(shape, 2);
    const Tensor gamma = random_tensor<float>({c}, 3), beta = random_tensor<float>({c}, 4);
    const NormResult batch = b.batch_norm(x.f32, gamma, beta, 1e-2);
    check_norm(b.batch_norm(x.bf16, gamma, beta, 1e-2), batch);
    check_gradients(b.batch_norm_backward(x.bf16, gamma, batch.mean, batch.rstd, dy.bf16),
                    b.batch_norm_backward(x.f32, gamma, batch.mean, batch.rstd, dy.f32));
    const NormResult layer = b.layer_norm(x.f32, gamma, beta, 1e-2);
    check_norm(b.layer_norm(x.bf16, gamma, beta, 1e-2), layer);
    check_gradients(b.layer_norm_backward(x.bf16, gamma, layer.mean, layer.rstd, dy.bf16),
                    b.layer_norm_backward(x.f32, gamma, layer.mean, layer.rstd, dy.f32));
    for (const int groups : {1, c % 4 == 0 ? 4 : static_cast<int>(c)}) {
      const NormResult group = b.group_norm(x.f32, gamma, beta, groups, 1e-2);
      check_norm(b.group_norm(x.bf16, gamma, beta, groups, 1e-2), group);
      check_gradients(b.group_norm_backward(x.bf16, gamma, group.mean, group.rstd, dy.bf16, groups),
                      b.group_norm_backward(x.f32, gamma, group.mean, group.rstd, dy.f32, groups));
    }
  }
}

TEST_CASE("bf16 norm: evaluation rounds as training") {
  Backend& b = tested();
  const Rounded x = rounded({5, 7, 48}, 1);
  const Tensor gamma = random_tensor<float>({48}, 3), beta = random_tensor<float>({48}, 4);
  const NormResult r = b.batch_norm(x.bf16, gamma, beta, 1e-2);
  const Tensor scale = b.binary(Binary::mul, r.rstd, gamma);
  const Tensor y = b.channel_affine(x.bf16, scale, beta, r.mean);
  CHECK(y.dtype() == DType::bf16);
  CHECK(numbers(y) == numbers(r.y));
  check_activation(b.channel_affine(x.bf16, scale, beta, {}),
                   b.channel_affine(x.f32, scale, beta, {}));
}

TEST_CASE("bf16 norm: batch norm in parts") {
  Backend& b = tested();
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.str());
    const std::int64_t c = shape[shape.size() - 1];
    const Rounded x = rounded(shape, 1), dy = rounded(shape, 2);
    const Tensor centre = random_tensor<float>({c}, 3), of = random_tensor<float>({3, c}, 4);
    const Tensor moments = b.channel_moments(x.bf16, centre);
    CHECK(moments.dtype() == DType::f64);
    CHECK(worst(moments, b.channel_moments(x.f32, centre)) < kExact);
    const Tensor sums = b.channel_products(x.bf16, centre, dy.bf16);
    CHECK(sums.dtype() == DType::f64);
    CHECK(worst(sums, b.channel_products(x.f32, centre, dy.f32)) < kExact);
    check_activation(b.channel_gradient(x.bf16, centre, dy.bf16, of),
                     b.channel_gradient(x.f32, centre, dy.f32, of));
  }
}
