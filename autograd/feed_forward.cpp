#include "autograd/feed_forward.h"

#include "autograd/checks.h"
#include "tensor/ops.h"

namespace nextgrad {

// base + scale (W2 gelu(taps * (W1 x + b1) + tap_bias) + b2); scale is multiplied into W2 and b2.
Variable feed_forward(const Variable& base, const Variable& x, const FeedForwardVariables& f,
                      const Variable& scale) {
  for (const Variable& v :
       {base, x, f.expand, f.expand_bias, f.taps, f.taps_bias, f.contract, f.contract_bias, scale})
    check(!grad_enabled() || !v.requires_grad(),
          "feed_forward: has no backward; compute it in parts, or under NoGrad");
  check_floating("feed_forward", x);
  check_same("feed_forward", x, base);
  check(x.ndim() == 4 && f.expand.ndim() == 2 && f.expand.dim(1) == x.dim(3),
        "feed_forward: input {} does not fit the first weight {}", x.shape().str(),
        f.expand.shape().str());
  for (const Variable& w : {f.expand, f.taps, f.contract}) check_parameter("feed_forward", x, w);
  const std::int64_t hidden = f.expand.dim(0), out = f.contract.dim(0);
  check(f.taps.shape() == Shape{3, 3, hidden} && f.contract.shape() == Shape{out, hidden},
        "feed_forward: taps {} and second weight {} do not fit {} hidden channels",
        f.taps.shape().str(), f.contract.shape().str(), hidden);
  check(base.shape() == Shape{x.dim(0), x.dim(1), x.dim(2), out},
        "feed_forward: base {} is not the output's shape", base.shape().str());
  check_vector("feed_forward", "expand_bias", x, f.expand_bias, hidden);
  check_vector("feed_forward", "taps_bias", x, f.taps_bias, hidden);
  check_vector("feed_forward", "contract_bias", x, f.contract_bias, out);
  check_vector("feed_forward", "scale", x, scale, out);
  Tensor w2 = f.contract.value().contiguous(), b2 = value_or_none(f.contract_bias);
  if (scale.defined()) w2 = w2 * scale.value().unsqueeze(1);
  if (scale.defined() && b2.defined()) b2 = b2 * scale.value();
  return Variable(
      x.backend().feed_forward(base.value().contiguous(), x.value().contiguous(),
                               {f.expand.value().contiguous(), value_or_none(f.expand_bias),
                                f.taps.value().contiguous(), value_or_none(f.taps_bias), w2, b2}));
}

}  // namespace nextgrad
