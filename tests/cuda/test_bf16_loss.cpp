#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE("bf16 loss: cross entropy and its gradient") {
  Backend& b = tested();
  using Normalise = CrossEntropyOptions::Normalise;
  for (const Shape& shape : {Shape{2500, 3}, Shape{37, 171}, Shape{1, 1}, Shape{5, 2000}}) {
    CAPTURE(shape.str());
    const Rounded logits = rounded(shape, 1, -5, 5);
    const Tensor labels = random_labels({shape[0]}, 2, shape[1], 255);
    for (const bool weighted : {false, true}) {
      const Tensor weights = weighted ? random_tensor<float>({shape[1]}, 3, 0.2, 2) : Tensor();
      for (const Normalise n : {Normalise::all, Normalise::valid, Normalise::none}) {
        const CrossEntropyOptions o{255, 0.1, n};
        const auto got = b.cross_entropy(logits.bf16, {labels, weights, o});
        const auto want = b.cross_entropy(logits.f32, {labels, weights, o});
        check_parameter(got.loss, want.loss);
        check_parameter(got.log_sum, want.log_sum);
        CHECK(got.normaliser.item() == want.normaliser.item());
        const Tensor dloss = scalar<float>(0.5);
        check_activation(b.cross_entropy_backward(logits.bf16, {labels, weights, o}, got, dloss),
                         b.cross_entropy_backward(logits.f32, {labels, weights, o}, want, dloss));
      }
    }
  }
}
