// Attention, for now by its composition.
#include "cuda/device/cuda_backend.h"

namespace nextgrad::cuda {

AttentionResult CudaBackend::attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads,
                                       double scale) {
  return Fused::attention(q, k, v, heads, scale);
}

AttentionGradients CudaBackend::attention_backward(const Tensor& q, const Tensor& k,
                                                   const Tensor& v, const Tensor& y,
                                                   const Tensor& log_sum, const Tensor& dy,
                                                   int heads, double scale) {
  return Fused::attention_backward(q, k, v, y, log_sum, dy, heads, scale);
}

}  // namespace nextgrad::cuda
