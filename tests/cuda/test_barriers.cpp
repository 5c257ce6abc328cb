// A tiny case of every kernel whose threads meet at barriers, with as many threads and blocks as
// could be in each other's way; barriers.py runs them with each thread watched for races on its
// own, which larger ones are too slow for, and fails for a kernel that has none here. What is right
// is what the CPU computes.
#include <functional>

#include "tensor/ops.h"
#include "tests/cuda/bf16.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

using Tensors = std::vector<Tensor>;

Tensors random_tensors(const std::vector<Shape>& shapes) {
  Tensors all;
  for (const Shape& shape : shapes) all.push_back(random_tensor<float>(shape, all.size() + 1));
  return all;
}

// What `op` makes of `inputs`: on the device under test what it does on the CPU.
void check_op(const Tensors& inputs, const std::function<Tensors(Backend&, const Tensors&)>& op) {
  Tensors of_host;
  for (const Tensor& x : inputs) of_host.push_back(x.to(Device{}));
  const Tensors got = op(tested(), inputs), want = op(backend_of(Device{}), of_host);
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(worst(got[i], want[i]) < 5 * tolerance<float>());
  }
}

// Plain and upsampled. The latter's gradient has a thread for each class, plain rows of more than
// 1024 a block.
void check_cross_entropy(std::int64_t k) {
  Tensors inputs = random_tensors({{1, 2, 3, k}, {}});
  inputs.push_back(random_labels({1, 2, 3}, 2, k, 255));
  inputs.push_back(random_labels({1, 8, 12}, 3, k, 255));
  check_op(inputs, [](Backend& b, const Tensors& x) {
    const CrossEntropyOptions smoothed{.label_smoothing = 0.1};
    const CrossEntropyTarget plain{x[2], {}, smoothed}, large{x[3], {}, smoothed};
    const CrossEntropyResult r = b.cross_entropy(x[0], plain);
    const CrossEntropyResult up = b.upsample_cross_entropy(x[0], large);
    return Tensors{r.loss, up.loss, b.cross_entropy_backward(x[0], plain, r, x[1]),
                   b.upsample_cross_entropy_backward(x[0], large, up, x[1])};
  });
}

}  // namespace

TEST_CASE("barriers: products that cuBLASLt refuses") {
  const auto odd = [](const Rounded& r, const Shape& shape) {
    return r.bf16.slice(0, 1, 1 + shape.numel()).reshape(shape);
  };
  const Tensor a = odd(rounded({500}, 1), {1, 18, 21}), b = odd(rounded({500}, 2), {1, 21, 17});
  check_activation(tested().matmul(a, b, false, false),
                   tested().matmul(a.to(DType::f32), b.to(DType::f32), false, false));
}

TEST_CASE("barriers: sums and norms") {
  check_op(random_tensors({{2, 20, 8}, {2, 4200}}), [](Backend& b, const Tensors& x) {
    return Tensors{b.reduce(Reduce::sum, x[0], {1}), b.reduce(Reduce::sum, x[1], {1}), b.norm(x)};
  });
}

TEST_CASE("barriers: matrix factorisation") {
  Tensors inputs = random_tensors({{2, 30, 6}, {2, 6, 3}});
  for (Tensor& x : inputs) x = x * x;
  inputs.push_back(random_tensor<float>({2, 30, 6}, 3));
  check_op(inputs, [](Backend& b, const Tensors& x) {
    const NmfOptions o{.steps = 2};
    const NmfResult r = b.nmf(x[0], x[1], o, NmfKeep::all_steps);
    return Tensors{r.y, r.coef, b.nmf_backward(x[0], r, o, NmfKeep::all_steps, x[2])};
  });
}

TEST_CASE("barriers: the end of a branch") {
  check_op(random_tensors({{2, 20, 8}, {6, 8}, {6}, {6}, {2}, {2, 20, 6}, {2, 20, 6}}),
           [](Backend& b, const Tensors& x) {
             const LinearBranch branch{
                 .weight = x[1], .bias = x[2], .s = x[3], .mask = x[4], .extra = x[5]};
             const LinearResidualGradients d =
                 b.linear_residual_backward(x[0], branch, x[6], {}, true);
             return Tensors{d.dx, d.dweight, d.dbias, d.ds, d.dextra};
           });
}

TEST_CASE("barriers: the gradient of a bias") {
  check_op(random_tensors({{40, 8}, {12, 8}, {40, 12}}), [](Backend& b, const Tensors& x) {
    const ConvGradients d = b.linear_backward(x[0], x[1], x[2], {});
    return Tensors{d.dx, d.dweight, d.dbias};
  });
}

TEST_CASE("barriers: softmax of long rows") {
  check_op(random_tensors({{2, 1100}, {2, 1100}}), [](Backend& b, const Tensors& x) {
    const Tensor y = b.softmax(x[0], false);
    return Tensors{y, b.softmax_backward(y, x[1], false)};
  });
}

TEST_CASE("barriers: layer norm of long rows") {
  const std::int64_t c = 1101;
  check_op(random_tensors({{2, c}, {c}, {c}, {2, c}}), [](Backend& b, const Tensors& x) {
    const NormResult r = b.layer_norm(x[0], x[1], x[2], 1e-5);
    const NormGradients d = b.layer_norm_backward(x[0], x[1], r.mean, r.rstd, x[3]);
    return Tensors{r.y, d.dx, d.dgamma, d.dbeta};
  });
}

TEST_CASE("barriers: batch norm, whole and in parts") {
  check_op(random_tensors({{1, 200, 2, 12}, {12}, {12}, {1, 200, 2, 12}}),
           [](Backend& b, const Tensors& x) {
             const NormResult r = b.batch_norm(x[0], x[1], x[2], 1e-5, {});
             const NormGradients d = b.batch_norm_backward(x[0], x[1], r.mean, r.rstd, x[3]);
             return Tensors{r.y,
                            d.dx,
                            d.dgamma,
                            d.dbeta,
                            b.channel_moments(x[0], x[1]),
                            b.channel_products(x[0], x[1], x[3])};
           });
}

TEST_CASE("barriers: group norm") {
  check_op(random_tensors({{2, 5, 8, 12}, {12}, {12}, {2, 5, 8, 12}}),
           [](Backend& b, const Tensors& x) {
             const NormResult r = b.group_norm(x[0], x[1], x[2], 3, 1e-5);
             const NormGradients d = b.group_norm_backward(x[0], x[1], r.mean, r.rstd, x[3], 3);
             return Tensors{r.y, d.dx, d.dgamma, d.dbeta};
           });
}

TEST_CASE("barriers: residual sums that are measured, and their gradients") {
  const std::int64_t c = 12;
  check_op(random_tensors({{1, 40, 10, c}, {1, 40, 10, c}, {c}, {c}, {c}}),
           [](Backend& b, const Tensors& x) {
             Tensor moments;
             const Tensor y = b.residual(x[0], x[1], x[2], {}, &moments);
             const NormResult r = b.batch_norm(y, x[3], x[4], 1e-5, moments);
             const ResidualGradients d = b.residual_backward(x[1], x[2], {}, x[0], true);
             return Tensors{y, r.y, d.dbranch, d.ds};
           });
}

TEST_CASE("barriers: attention of narrow and of wide heads") {
  for (const std::int64_t width : {8, 1100}) {
    // 70 rows: a second tile on either side. Wide ones take long enough.
    const std::int64_t n = width > 8 ? 3 : 70;
    check_op(random_tensors({{1, n, 8}, {1, n, 8}, {1, n, width}, {1, n, width}}),
             [](Backend& b, const Tensors& x) {
               const AttentionResult r = b.attention(x[0], x[1], x[2], 1, 0.3);
               const AttentionGradients d =
                   b.attention_backward(x[0], x[1], x[2], r.y, r.log_sum, x[3], 1, 0.3);
               return Tensors{r.y, d.dq, d.dk, d.dv};
             });
  }
}

TEST_CASE("barriers: gradients of depth-wise taps") {
  for (const int stride : {1, 2}) {
    const Window window{3, 3, stride, stride, 1, 1, 1, 1};
    const Shape y{1, window.out_h(9), window.out_w(12), 8};
    check_op(random_tensors({{1, 9, 12, 8}, {3, 3, 8}, y}), [&](Backend& b, const Tensors& x) {
      const ConvGradients d = b.depthwise_backward(x[0], x[1], x[2], window, {});
      return Tensors{d.dx, d.dweight, d.dbias};
    });
  }
}

TEST_CASE("barriers: strips") {
  const std::int64_t c = 36;  // several blocks, and several chunks of rows of each
  std::vector<Shape> shapes = {{1, 25, 18, c}, {1, 25, 18, c}};
  for (const int k : {7, 11, 21})
    for (const Shape& shape : {Shape{1, k, c}, Shape{c}, Shape{k, 1, c}, Shape{c}})
      shapes.push_back(shape);
  check_op(random_tensors(shapes), [](Backend& b, const Tensors& x) {
    std::vector<Strip> strips;
    for (std::size_t i = 2; i < x.size(); i += 4)
      strips.push_back({x[i], x[i + 1], x[i + 2], x[i + 3]});
    const StripsGradients d = b.strips_backward(x[0], strips, x[1]);
    Tensors results{b.strips(x[0], strips), d.dx};
    for (const Strip& s : d.dstrips)
      for (const Tensor& t : {s.row, s.row_bias, s.column, s.column_bias}) results.push_back(t);
    return results;
  });
}

TEST_CASE("barriers: cross entropy of few classes, plain and upsampled") {
  check_cross_entropy(5);
}
TEST_CASE("barriers: cross entropy of many classes, plain and upsampled") {
  check_cross_entropy(1100);
}

TEST_CASE("barriers: a step of an optimiser") {
  check_op(random_tensors({{5000}, {5000}}), [](Backend& b, const Tensors& x) {
    const Tensor p = x[0].clone(), m = Tensor::zeros({5000}, DType::f32, p.device());
    std::vector<OptimizerSlot> slots = {{p, x[1], m, m.clone(), 0.1, 0.01, 1}};
    b.adamw(slots, {}, {});
    return Tensors{p, m};
  });
}
