#include "autograd/arithmetic.h"
#include "autograd/attention.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;
using In = const std::vector<Variable>&;

namespace {

Fn in_heads(int heads, double scale = 0) {
  return [=](In in) { return attention(in[0], in[1], in[2], heads, scale); };
}

// By ops that were there before it.
Variable composed(In in, int heads, double scale) {
  std::vector<Variable> results;
  const auto head = [&](const Variable& x, int h) {
    const std::int64_t width = x.dim(2) / heads;
    return slice(x, 2, h * width, (h + 1) * width);
  };
  for (int h = 0; h < heads; ++h) {
    const Variable scores = matmul(head(in[0], h), head(in[1], h), false, true) * scale;
    results.push_back(matmul(softmax(scores), head(in[2], h)));
  }
  return concat(results, 2);
}

}  // namespace

TEST_CASE("attention") {
  require_op(in_heads(1), {leaf({2, 3, 5}, 1), leaf({2, 4, 5}, 2), leaf({2, 4, 3}, 3)});
  require_op(in_heads(3), {leaf({1, 5, 6}, 1), leaf({1, 7, 6}, 2), leaf({1, 7, 3}, 3)});
  require_op(in_heads(2, 0.7), {leaf({2, 1, 2}, 1), leaf({2, 9, 2}, 2), leaf({2, 9, 4}, 3)});
  require_op(in_heads(1), {leaf({1, 3, 4}, 1), leaf({1, 1, 4}, 2), leaf({1, 1, 2}, 3)});
  require_op(in_heads(2),
             {strided_leaf({2, 3, 4}, 1), strided_leaf({2, 5, 4}, 2), strided_leaf({2, 5, 6}, 3)});
}

TEST_CASE("attention of more rows than a tile has") {
  require_op(in_heads(1), {leaf({1, 101, 2}, 1), leaf({1, 3, 2}, 2), leaf({1, 3, 1}, 3)});
  require_op(in_heads(1), {leaf({1, 3, 2}, 1), leaf({1, 133, 2}, 2), leaf({1, 133, 1}, 3)});
}

TEST_CASE("attention of x to itself") {
  require_op([](In in) { return attention(in[0], in[0], in[0], 2); }, {leaf({2, 5, 6}, 1)});
}

TEST_CASE("attention is softmax between two products") {
  const std::vector<Variable> in = {leaf({2, 37, 12}, 1), leaf({2, 41, 12}, 2),
                                    leaf({2, 41, 20}, 3)};
  for (const int heads : {1, 2, 4})
    require_same(
        in_heads(heads), [=](In v) { return composed(v, heads, std::sqrt(heads / 12.0)); }, in);
}

TEST_CASE("attention refuses what does not fit") {
  const Variable q = leaf({2, 3, 4}, 1), k = leaf({2, 5, 4}, 2), v = leaf({2, 5, 6}, 3);
  const auto refused = [](const Variable& q, const Variable& k, const Variable& v, int heads,
                          const char* why) {
    CHECK_THROWS_WITH_AS(attention(q, k, v, heads), doctest::Contains(why), Error);
  };
  refused(q, k, v, 3, "split into 3 heads, got [2,3,4]");
  refused(q, k, v, 0, "split into 0 heads");
  refused(q, k, v, 4, "got [2,5,6]");
  refused(leaf({3, 4}, 1), k, v, 2, "[batch, rows, channels]");
  refused(leaf({1, 3, 4}, 1), k, v, 2, "differ in batch");
  refused(leaf({2, 3, 6}, 1), k, v, 2, "differ in batch or channels");
  refused(q, k, leaf({2, 4, 6}, 3), 2, "differ in batch or rows");
  refused(q, Variable(k.value().to(DType::f32)), v, 2, "f64 and f32");
  refused(q, Variable(), v, 2, "undefined");
}
