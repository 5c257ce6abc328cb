#include "autograd/conv.h"

#include "autograd/checks.h"
#include "autograd/fuse.h"

namespace nextgrad {

namespace {

void check_window(const char* op, const Variable& x, const Window& w) {
  check(w.stride_h > 0 && w.stride_w > 0 && w.dilation_h > 0 && w.dilation_w > 0 && w.pad_h >= 0 &&
            w.pad_w >= 0,
        "{}: strides and dilations must be positive, paddings not negative", op);
  check(w.out_h(x.dim(1)) > 0 && w.out_w(x.dim(2)) > 0 &&
            x.dim(1) + 2 * w.pad_h > std::int64_t{w.dilation_h} * (w.kh - 1) &&
            x.dim(2) + 2 * w.pad_w > std::int64_t{w.dilation_w} * (w.kw - 1),
        "{}: a {}x{} window (dilation {}x{}) does not fit the input {} padded by {}x{}", op, w.kh,
        w.kw, w.dilation_h, w.dilation_w, x.shape(), w.pad_h, w.pad_w);
}

// Takes the kernel's extents from the weight; the output's shape.
Shape check_depthwise(const Variable& x, const Variable& weight, const Variable& bias,
                      Window& window) {
  check_floating("depthwise_conv2d", x);
  check_parameter("depthwise_conv2d", x, weight);
  check(x.ndim() == 4 && weight.ndim() == 3 && weight.dim(2) == x.dim(3),
        "depthwise_conv2d: input {} does not fit weight {} (wants [N,H,W,C] and [kh,kw,C])",
        x.shape(), weight.shape());
  window.kh = static_cast<int>(weight.dim(0));
  window.kw = static_cast<int>(weight.dim(1));
  check_vector("depthwise_conv2d", "bias", x, bias, x.dim(3));
  check_window("depthwise_conv2d", x, window);
  return {x.dim(0), window.out_h(x.dim(1)), window.out_w(x.dim(2)), x.dim(3)};
}

}  // namespace

Variable conv2d(Variable x, const Variable& weight, const Variable& bias, Window window,
                int groups) {
  check_floating("conv2d", x);
  check_parameter("conv2d", x, weight);
  check(x.ndim() == 4 && weight.ndim() == 4,
        "conv2d: wants input [N,H,W,C] and weight [O,kh,kw,I], got {} and {}", x.shape(),
        weight.shape());
  window.kh = static_cast<int>(weight.dim(1));
  window.kw = static_cast<int>(weight.dim(2));
  check(groups > 0 && weight.dim(0) % groups == 0,
        "conv2d: {} output channels do not split into {} groups", weight.dim(0), groups);
  check(x.dim(3) == weight.dim(3) * groups,
        "conv2d: input has {} channels, weight wants {} (weight {}, {} groups)", x.dim(3),
        weight.dim(3) * groups, weight.shape(), groups);
  check_vector("conv2d", "bias", x, bias, weight.dim(0));
  check_window("conv2d", x, window);
  const Shape shape{x.dim(0), window.out_h(x.dim(1)), window.out_w(x.dim(2)), weight.dim(0)};
  return uncooked(ConvRecipe{std::move(x), weight, bias, window, groups}, shape);
}

// y[p] = sum over taps t and channels i of W[t] x[stride p + dilation t - pad] + b;
// dx, dW and db are its transposes applied to dy.
Variable conv2d_at_once(const Variable& x, const Variable& weight, const Variable& bias,
                        const Window& window, int groups) {
  const Tensor in = x.value().contiguous(), w = weight.value().contiguous();
  const Needs needs{x.requires_grad(), weight.requires_grad(), bias.requires_grad()};
  return record(
      "conv2d", x.backend().conv2d(in, w, value_or_none(bias), window, groups), {x, weight, bias},
      [=, in = Saved(x, in), w = Saved(w)](const Tensor& dy) -> std::vector<Tensor> {
        ConvGradients d =
            dy.backend().conv2d_backward(in.get(), w.get(), dy.contiguous(), window, groups, needs);
        return {d.dx, d.dweight, d.dbias};
      });
}

Variable depthwise_conv2d(Variable x, const Variable& weight, const Variable& bias, Window window) {
  const Shape shape = check_depthwise(x, weight, bias, window);
  return uncooked(DepthwiseRecipe{std::move(x), weight, bias, window}, shape);
}

// y[p, c] = base[p, c] + sum over taps t of W[t, c] x[stride p + dilation t - pad, c] + b[c]
Variable depthwise_conv2d(const Variable& x, const Variable& weight, const Variable& bias,
                          Window window, const Variable& base) {
  const Shape out = check_depthwise(x, weight, bias, window);
  if (base.defined()) {
    check_same("depthwise_conv2d", x, base);
    check(base.shape() == out, "depthwise_conv2d: base {} is not the output's {}", base.shape(),
          out);
  }
  const Tensor in = x.value().contiguous(), w = weight.value().contiguous();
  const Needs needs{x.requires_grad(), weight.requires_grad(), bias.requires_grad()};
  return record("depthwise_conv2d",
                x.backend().depthwise(in, w, value_or_none(bias), value_or_none(base), window),
                {x, weight, bias, base},
                [=, in = Saved(x, in), w = Saved(w)](const Tensor& dy) -> std::vector<Tensor> {
                  ConvGradients d =
                      dy.backend().depthwise_backward(in.get(), w.get(), dy.contiguous(), window,
                                                      needs, needs.dx ? take_arrived(0) : Tensor());
                  return {d.dx, d.dweight, d.dbias, dy};
                });
}

}  // namespace nextgrad
