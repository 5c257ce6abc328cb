// Fused: ops that are made of primitives (backend.h), each with its composition as default. The
// composition is what the op means: one reads it in fused.cpp, kernels are tested against it, and a
// new backend is right with nothing else. A backend overrides what it does better in one pass.
// The rules of backend.h hold here too.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tensor/elementwise.h"
#include "tensor/tensor.h"

namespace nextgrad {

class Backend;

enum class Activation { none, gelu, relu };
inline Unary unary_of(Activation f) {  // throws for none
  check(f != Activation::none, "no activation is no op");
  return f == Activation::gelu ? Unary::gelu : Unary::relu;
}

// Geometry of a convolution. Output extent:
// (in + 2 pad - dilation * (k - 1) - 1) / stride + 1.
struct Window {
  int kh = 1, kw = 1;
  int stride_h = 1, stride_w = 1;
  int pad_h = 0, pad_w = 0;
  int dilation_h = 1, dilation_w = 1;
  std::int64_t out_h(std::int64_t h) const {
    return (h + 2 * pad_h - std::int64_t{dilation_h} * (kh - 1) - 1) / stride_h + 1;
  }
  std::int64_t out_w(std::int64_t w) const {
    return (w + 2 * pad_w - std::int64_t{dilation_w} * (kw - 1) - 1) / stride_w + 1;
  }
};

struct NormResult {  // y and what its backward needs
  Tensor y, mean, rstd;
};
struct NormGradients {
  Tensor dx, dgamma, dbeta;
};
struct ConvGradients {  // undefined where not asked for
  Tensor dx, dweight, dbias;
};
struct Needs {  // which of ConvGradients to compute
  bool dx = true, dweight = true, dbias = true;
};

struct Strip {  // a k x k depth-wise kernel as 1 x k, then k x 1; a bias may be undefined
  Tensor row, row_bias, column, column_bias;  // [1,k,C], [C], [k,1,C], [C]
};
struct StripsGradients {
  Tensor dx;
  std::vector<Strip> dstrips;  // biases undefined where the strip has none
};

// Options of cross entropy. loss = sum over pixels of weight[label] * nll / normaliser.
struct CrossEntropyOptions {
  std::int64_t ignore_label = 255;
  double label_smoothing = 0;
  // `all`: divide by the number of all pixels, ignored ones too (MMSegmentation's
  // default); `valid`: by the summed weight of the pixels that count (PyTorch's mean); `none`: do
  // not divide.
  enum class Normalise { all, valid, none } normalise = Normalise::all;
};
struct CrossEntropyResult {
  Tensor loss;        // scalar []
  Tensor log_sum;     // what the backward needs: log-sum-exp per pixel [pixels]
  Tensor normaliser;  // [], what the sum was divided by (>= tiny: no valid pixel gives loss 0)
};

class Fused {
 public:
  virtual ~Fused() = default;

  // --- elementwise and reductions ---
  virtual void scale(Tensor& y, double alpha);              // y *= alpha, contiguous
  virtual void lerp(Tensor& y, const Tensor& x, double t);  // y += t (x - y), contiguous
  // L2 norm of all the tensors' elements together, summed in double: f64 [].
  virtual Tensor norm(const std::vector<Tensor>& all);
  virtual bool all_finite(const Tensor& x);
  // Softmax over the last axis; `log`: log-softmax.
  virtual Tensor softmax(const Tensor& x, bool log);
  virtual Tensor softmax_backward(const Tensor& y, const Tensor& dy, bool log);

  // --- linear layers ---
  // y = activation(x W^T + bias): x [M, I], weight [O, I], bias [O] or undefined. If
  // `pre_activation` is given, it receives x W^T + bias.
  virtual Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        Activation activation, Tensor* pre_activation);
  // Gradients of x W^T + bias: dy [M, O].
  virtual ConvGradients linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                        Needs needs);
  // The end of a residual branch, y = base + mask[n] (f(x) W^T + bias): x [N, ..., I], base and y
  // [N, ..., O], mask [N] or undefined (1), f = `input`. `moments` as of residual().
  virtual Tensor linear_residual(const Tensor& base, const Tensor& x, const Tensor& weight,
                                 const Tensor& bias, Activation input, const Tensor& mask,
                                 Tensor* moments = nullptr);
  // Its gradients; that of base is dy itself.
  virtual ConvGradients linear_residual_backward(const Tensor& x, const Tensor& weight,
                                                 Activation input, const Tensor& mask,
                                                 const Tensor& dy, Needs needs);

  // y = base + contract gelu(taps * (expand x + expand_bias) + taps_bias) + contract_bias; taps is
  // a depth-wise 3x3 padded by zeros. x [N,H,W,C], base and y [N,H,W,O]. Biases may be undefined.
  struct FeedForward {
    Tensor expand, expand_bias;      // [hidden, C], [hidden]
    Tensor taps, taps_bias;          // [3, 3, hidden], [hidden]
    Tensor contract, contract_bias;  // [O, hidden], [O]
  };
  virtual Tensor feed_forward(const Tensor& base, const Tensor& x, const FeedForward& f);

  // --- multi-scale strips ---
  // y = x + sum over strips of depthwise(depthwise(x, row) + row_bias, column) + column_bias, k
  // odd, stride 1, zeros around the image at both steps; x [N,H,W,C]. The row results never exist.
  virtual Tensor strips(const Tensor& x, const std::vector<Strip>& strips);
  virtual StripsGradients strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                          const Tensor& dy);

  // --- normalisation. x [..., C]; gamma, beta [C] ---
  // Batch norm over all axes but the last, biased variance: y = (x - mean) rstd gamma + beta.
  // `moments` are those that the op which made x left, or undefined; no result depends on them.
  virtual NormResult batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                double eps, const Tensor& moments = {});
  virtual NormGradients batch_norm_backward(const Tensor& x, const Tensor& gamma,
                                            const Tensor& mean, const Tensor& rstd,
                                            const Tensor& dy);
  // running += momentum (batch - running), the variance unbiased by rows / (rows - 1); batch
  // variance is recovered as 1 / rstd^2 - eps. `batches`, an i64 [] counter, grows by 1 if given.
  virtual void update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                              const Tensor& rstd, double eps, std::int64_t rows, double momentum,
                              Tensor* batches);
  // Batch norm by given statistics, for channel_affine(): rstd = 1 / sqrt(variance + eps), scale =
  // gamma rstd, shift = beta - mean scale; all [C].
  struct FoldedNorm {
    Tensor scale, shift, rstd;
  };
  virtual FoldedNorm fold_statistics(const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                     const Tensor& variance, double eps);
  // y = (x - centre) scale + shift, per channel: x [..., C], others [C], centre may be undefined
  // (0). Rounded just as batch_norm() rounds it.
  virtual Tensor channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift,
                                const Tensor& centre);
  // Layer norm over the last axis; mean and rstd per row.
  virtual NormResult layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                double eps);
  virtual NormGradients layer_norm_backward(const Tensor& x, const Tensor& gamma,
                                            const Tensor& mean, const Tensor& rstd,
                                            const Tensor& dy);
  // Group norm: x [N, ..., C], statistics per image and group of C / groups channels [N, groups].
  virtual NormResult group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                int groups, double eps);
  virtual NormGradients group_norm_backward(const Tensor& x, const Tensor& gamma,
                                            const Tensor& mean, const Tensor& rstd,
                                            const Tensor& dy, int groups);

  // --- residual connections and gates ---
  // y = x + mask[n] * s[c] * branch: x, branch [N, ..., C]; s [C] or undefined (1); mask [N] or
  // undefined (1): residual connection with layer scale and drop path. If `moments` is given, a
  // device that can leaves there what batch_norm() of y can use: sums it found in passing.
  virtual Tensor residual(const Tensor& x, const Tensor& branch, const Tensor& s,
                          const Tensor& mask, Tensor* moments = nullptr);
  struct ResidualGradients {
    Tensor dbranch, ds;  // dx is dy itself; branch may be undefined if ds is not needed
  };
  virtual ResidualGradients residual_backward(const Tensor& branch, const Tensor& s,
                                              const Tensor& mask, const Tensor& dy, bool needs_ds);
  // Gradients of a * u in one pass: {dy * u, dy * a}.
  virtual std::pair<Tensor, Tensor> gate_backward(const Tensor& a, const Tensor& u,
                                                  const Tensor& dy);

  // --- resized logits ---
  // argmax over channels of resize(x, h, w, bilinear) the full-size logits need not exist: i32
  // [N,h,w].
  virtual Tensor resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w);
  // Backend::cross_entropy() on bilinearly upsampled logits (half-pixel): logits [N,h,w,K], labels
  // i32 [N,H,W]; the full-size logits need not exist. log_sum is [N,H,W].
  virtual CrossEntropyResult upsample_cross_entropy(const Tensor& logits, const Tensor& labels,
                                                    const Tensor& weights,
                                                    const CrossEntropyOptions& o);
  virtual Tensor upsample_cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                                 const Tensor& weights,
                                                 const CrossEntropyOptions& o,
                                                 const CrossEntropyResult& r, const Tensor& dloss);

 protected:
  virtual Backend& primitives() = 0;
};

}  // namespace nextgrad
