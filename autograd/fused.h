// Several ops in one, with their backwards: what the rules of fuse.cpp pick, computed at once. Each
// throws for shapes that do not fit.
#pragma once

#include <vector>

#include "autograd/variable.h"

namespace nextgrad {

// x + mask[n] * scale[c] * branch: residual connection with layer scale [C] (or undefined) and
// drop path (mask [N], 0 or 1 / keep, or undefined). `moments`: see Backend::residual.
Variable residual(const Variable& x, const Variable& branch, const Variable& scale = {},
                  const Tensor& mask = {}, Tensor* moments = nullptr);
// mask[n] * x, mask [N] constant: drop path. Waits to be fused (fuse.h).
Variable scale_images(Variable x, const Tensor& mask);
// x * mask, mask broadcast and constant: dropout ([N,H,W,C]) and channel dropout ([N,1,1,C]).
Variable apply_mask(const Variable& x, const Tensor& mask);

// The end of a residual branch in one product: base + mask[n] scale[c] (input(x) W^T + bias +
// extra), x [N, ..., I], base and extra (or undefined) [N, ..., O], scale [O] or undefined (layer
// scale), mask [N] or undefined (drop path, 0 or 1 / keep). Equals residual(base, linear(input(x),
// weight, bias) + extra, scale, mask), and gives `moments` as that does.
Variable linear_residual(const Variable& base, const Variable& x, const Variable& weight,
                         const Variable& bias = {}, Activation input = Activation::none,
                         const Variable& scale = {}, const Tensor& mask = {},
                         Tensor* moments = nullptr, const Variable& extra = {});

using StripVariables = StripOf<Variable>;
// y = x + sum over strips of column * (row * x), each convolution with its bias, the size kept by
// zeros around the image: x [N,H,W,C]. Throws on mismatched channels or an even kernel.
Variable strips(const Variable& x, const std::vector<StripVariables>& strips);

using FeedForwardVariables = FeedForwardOf<Variable>;
// base + mask[n] scale[c] (contract gelu(taps * (expand x))), biases included, in one pass whose
// hidden maps are not kept: its backward computes them again. x [N,H,W,C], base [N,H,W,O], scale
// [O] or undefined, mask [N] as of linear_residual().
Variable feed_forward(const Variable& base, const Variable& x, const FeedForwardVariables& f,
                      const Variable& scale = {}, const Tensor& mask = {});

}  // namespace nextgrad
