#include "nn/fold.h"

#include "autograd/arithmetic.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

struct Affine {  // norm(x) = x scale + shift
  Variable scale, shift;
};

Affine affine(const BatchNorm2d& norm) {
  const Variable scale = norm.weight * rsqrt(Variable(norm.running_var) + norm.eps());
  return {scale, norm.bias - Variable(norm.running_mean) * scale};
}

// norm(conv(x)): each output channel's filter and bias are scaled, then shifted.
Folded after(const Variable& scaled_weight, const Variable& bias, const Affine& a) {
  const Variable b = bias.defined() ? bias * a.scale + a.shift : a.shift;
  return {scaled_weight.value(), b.value()};
}

}  // namespace

Folded fold(const Conv2d& conv, const BatchNorm2d& norm) {
  const NoGrad guard;
  const Affine a = affine(norm);
  return after(conv.weight * reshape(a.scale, {-1, 1, 1, 1}), conv.bias, a);
}

Folded fold(const DepthwiseConv2d& conv, const BatchNorm2d& norm) {
  const NoGrad guard;
  const Affine a = affine(norm);
  return after(conv.weight * a.scale, conv.bias, a);
}

Folded fold(const BatchNorm2d& norm, const Conv2d& conv) {
  const NoGrad guard;
  const Conv2dOptions& o = conv.options();
  check(o.window.pad_h == 0 && o.window.pad_w == 0,
        "fold: a batch norm cannot go into a convolution with padding ({}x{}) after it, since the "
        "border is padded with 0 and not with the norm of 0; fold it into the layer before",
        o.window.pad_h, o.window.pad_w);
  const Affine a = affine(norm);
  // Output o reads the input channels of its group: [groups, 1, 1, 1, I/groups] against the weight
  // [groups, O/groups, kh, kw, I/groups].
  const Shape by_group{o.groups, 1, 1, 1, o.in_channels / o.groups};
  const Variable weight = reshape(conv.weight, {o.groups, o.out_channels / o.groups, o.window.kh,
                                                o.window.kw, o.in_channels / o.groups});
  const Variable shift = reshape(sum(weight * reshape(a.shift, by_group), {2, 3, 4}), {-1});
  const Variable folded = reshape(weight * reshape(a.scale, by_group), conv.weight.shape());
  return {folded.value(), (conv.bias.defined() ? conv.bias + shift : shift).value()};
}

}  // namespace nextgrad
