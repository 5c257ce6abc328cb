#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

TEST_CASE("bf16 attention with its gradients") {
  Backend& b = tested();
  struct Case {
    std::int64_t b, m, n;
    int heads;
    std::int64_t d, e;
  };
  for (const Case& c :
       {Case{1, 1, 1, 1, 1, 1}, Case{2, 33, 70, 2, 5, 7}, Case{1, 65, 66, 1, 32, 64},
        Case{2, 7, 130, 8, 4, 4}, Case{1, 9, 20, 1, 256, 512}}) {
    CAPTURE(c.m);
    const Rounded q = rounded({c.b, c.m, c.heads * c.d}, 1),
                  k = rounded({c.b, c.n, c.heads * c.d}, 2);
    const Rounded v = rounded({c.b, c.n, c.heads * c.e}, 3);
    const Rounded dy = rounded({c.b, c.m, c.heads * c.e}, 4);
    const double scale = 1 / std::sqrt(static_cast<double>(c.d));
    const AttentionResult want = b.attention(q.f32, k.f32, v.f32, c.heads, scale);
    const AttentionResult got = b.attention(q.bf16, k.bf16, v.bf16, c.heads, scale);
    check_activation(got.y, want.y);
    check_parameter(got.log_sum, want.log_sum);
    // The backward is given the rounded y, as in a training.
    const AttentionGradients wanted = b.attention_backward(
        q.f32, k.f32, v.f32, got.y.to(DType::f32), want.log_sum, dy.f32, c.heads, scale);
    const AttentionGradients g =
        b.attention_backward(q.bf16, k.bf16, v.bf16, got.y, got.log_sum, dy.bf16, c.heads, scale);
    check_activation(g.dq, wanted.dq);
    check_activation(g.dk, wanted.dk);
    check_activation(g.dv, wanted.dv);
  }
}
