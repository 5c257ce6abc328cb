// A feed-forward branch in evaluation: two products and between them the depth-wise 3x3, which
// applies its bias and GELU as it writes. The hidden maps are read and written once each.
#include "cuda/device/cuda_backend.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {

Tensor CudaBackend::feed_forward(const Tensor& base, const Tensor& x, const FeedForwardWeights& f) {
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  const std::int64_t hidden = f.expand.dim(0), pixels = n * h * w;
  Scope scope(*this, costs::feed_forward(base, x, f));
  const Tensor wide =
      linear(x.reshape({pixels, c}), f.expand, f.expand_bias, Activation::none, nullptr)
          .reshape({n, h, w, hidden});
  const Window window{.kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  Tensor z = empty_like(wide);
  depthwise_into(wide, f.taps, f.taps_bias, {}, window, Activation::gelu, z);
  return linear_residual(base, z, f.contract, f.contract_bias, Activation::none, {}, nullptr);
}

}  // namespace nextgrad::cuda
