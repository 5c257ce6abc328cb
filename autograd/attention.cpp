#include "autograd/attention.h"

#include <algorithm>
#include <cmath>

#include "autograd/checks.h"

namespace nextgrad {

namespace {

void check_attention(const Variable& q, const Variable& k, const Variable& v, int heads) {
  check_floating("attention", q);
  check_same("attention", q, k);
  check_same("attention", q, v);
  for (const Variable& x : {q, k, v})
    check(x.ndim() == 3 && heads > 0 && x.dim(2) % heads == 0,
          "attention: wants [batch, rows, channels] with channels that split into {} heads, got {}",
          heads, x.shape());
  check(q.dim(0) == k.dim(0) && q.dim(2) == k.dim(2),
        "attention: queries {} and keys {} differ in batch or channels", q.shape(), k.shape());
  check(k.dim(0) == v.dim(0) && k.dim(1) == v.dim(1),
        "attention: keys {} and values {} differ in batch or rows", k.shape(), v.shape());
}

}  // namespace

// In each head, s = scale q k^T, p = softmax(s) = e^(s - log_sum), y = p v: dv = p^T dy,
// ds = p (dp - sum(dy y)) with dp = dy v^T, dq = scale ds k, dk = scale ds^T q. The backward makes
// s and p again, tile by tile.
Variable attention(const Variable& q, const Variable& k, const Variable& v, int heads,
                   double scale) {
  check_attention(q, k, v, heads);
  if (scale == 0)
    scale = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, q.dim(2) / heads)));
  const Tensor queries = q.value().contiguous(), keys = k.value().contiguous(),
               values = v.value().contiguous();
  const AttentionResult r = queries.backend().attention(queries, keys, values, heads, scale);
  return record(
      "attention", r.y, {q, k, v},
      [heads, scale, q = Saved(q, queries), k = Saved(k, keys), v = Saved(v, values),
       y = Saved(r.y), log_sum = Saved(r.log_sum)](const Tensor& dy) -> std::vector<Tensor> {
        AttentionGradients g = dy.backend().attention_backward(
            q.get(), k.get(), v.get(), y.get(), log_sum.get(), dy.contiguous(), heads, scale);
        return {g.dq, g.dk, g.dv};
      });
}

}  // namespace nextgrad
