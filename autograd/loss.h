// Cross entropy.
#pragma once

#include "autograd/variable.h"

namespace nextgrad {

// logits [..., K], labels i32 of the leading extents; class_weights [K] or undefined. A label that
// is neither in [0, K) nor the ignored one throws.
Variable cross_entropy(const Variable& logits, const Tensor& labels,
                       const CrossEntropyOptions& options = {}, const Tensor& class_weights = {});
// cross_entropy(resize(logits, H, W), labels) in one op, the upsampled logits never existing:
// logits [N,h,w,K], labels i32 [N,H,W].
Variable upsample_cross_entropy(const Variable& logits, const Tensor& labels,
                                const CrossEntropyOptions& options = {},
                                const Tensor& class_weights = {});
// -sum over classes of targets * log_softmax(logits), mean over the rest: the cross entropy for
// labels that are shares of classes (mixed, smoothed). logits and targets [..., K], of any sums.
Variable soft_cross_entropy(const Variable& logits, const Tensor& targets);

}  // namespace nextgrad
