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

// A k x k depth-wise kernel as its cheap cousin, 1 x k then k x 1, k odd; biases may be undefined.
template <class T>
struct StripOf {
  T row, row_bias, column, column_bias;  // [1,k,C], [C], [k,1,C], [C]
};
using Strip = StripOf<Tensor>;
struct StripsGradients {
  Tensor dx;
  std::vector<Strip> dstrips;  // biases undefined where the strip has none
};

// A 1x1 convolution to `hidden` channels, a depth-wise 3x3, GELU and a 1x1 convolution back; biases
// may be undefined.
template <class T>
struct FeedForwardOf {
  T expand, expand_bias;      // [hidden, C], [hidden]
  T taps, taps_bias;          // [3, 3, hidden], [hidden]
  T contract, contract_bias;  // [O, hidden], [O]
};
using FeedForwardWeights = FeedForwardOf<Tensor>;
struct FeedForwardGradients {
  Tensor dx;
  FeedForwardWeights dweights;  // all defined
};
struct ResidualGradients {
  Tensor dbranch, ds;  // dx is dy itself; branch may be undefined if ds is not needed
};

struct AttentionResult {  // y and what its backward needs
  Tensor y, log_sum;
};
struct AttentionGradients {
  Tensor dq, dk, dv;
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
struct CrossEntropyTarget {
  Tensor labels, weights;  // i32; of the classes, [K] or undefined (1)
  CrossEntropyOptions options;
};
struct CrossEntropyResult {
  Tensor loss;        // scalar []
  Tensor log_sum;     // what the backward needs: log-sum-exp per pixel [pixels]
  Tensor normaliser;  // [], what the sum was divided by (>= tiny: no valid pixel gives loss 0)
};

class Fused {
 public:
  virtual ~Fused() = default;
  // What only the CUDA backend does in one launch.
  virtual void lerp(Tensor& y, const Tensor& x, double t);  // y += t (x - y), contiguous
  // running += momentum (batch - running), the variance unbiased by rows / (rows - 1); batch
  // variance is recovered as 1 / rstd^2 - eps. `batches`, an i64 [] counter, grows by 1 if given.
  virtual void update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                              const Tensor& rstd, double eps, std::int64_t rows, double momentum,
                              Tensor* batches);
  virtual Tensor softmax_backward(const Tensor& y, const Tensor& dy, bool log);
  // Gradients of a * u in one pass: {dy * u, dy * a}.
  virtual std::pair<Tensor, Tensor> gate_backward(const Tensor& a, const Tensor& u,
                                                  const Tensor& dy);
  // Batch norm by given statistics, for channel_affine(): rstd = 1 / sqrt(variance + eps), scale =
  // gamma rstd, shift = beta - mean scale; all [C].
  struct FoldedNorm {
    Tensor scale, shift, rstd;
  };
  virtual FoldedNorm fold_statistics(const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                     const Tensor& variance, double eps);
  // What only the CPU backend does in one pass: gate[m, o] (x W^T + bias), x [M, I].
  virtual Tensor linear_gate(const Tensor& gate, const Tensor& x, const Tensor& weight,
                             const Tensor& bias);
  // And the gradients of feed_forward(), but base's, with its hidden maps computed again: dy
  // [N,H,W,O], times the mask. trains_feed_forward(): whether that is faster than to keep them.
  virtual bool trains_feed_forward(const Tensor& x, const FeedForwardWeights& f);
  virtual FeedForwardGradients feed_forward_backward(const Tensor& x, const FeedForwardWeights& f,
                                                     const Tensor& dy);
#define NEXTGRAD_OP
#include "tensor/fused_ops.h"
#undef NEXTGRAD_OP

 protected:
  virtual Backend& primitives() = 0;
};

}  // namespace nextgrad
