// Fused: ops that are made of primitives (backend.h), each with its composition as default. The
// composition is what the op means: one reads it in fused.cpp, kernels are tested against it, and a
// new backend is right with nothing else. A backend overrides what it does better in one pass.
// The rules of backend.h hold here too.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tensor/elementwise.h"
#include "tensor/random.h"
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
// The end of a residual branch: mask[n] s[c] (f(x) W^T + bias + extra), all but W may be undefined.
struct LinearBranch {
  Tensor weight = {}, bias = {};        // [O, I], [O]
  Activation input = Activation::none;  // f
  Tensor s = {}, mask = {};             // layer scale [O], drop path [N]
  Tensor extra = {};                    // [N, ..., O]
};
struct LinearResidualGradients : ConvGradients {
  Tensor ds = {}, dextra = {};  // undefined where not asked for, or there is none
};
struct ResidualGradients {
  Tensor dbranch, ds;  // dx is dy itself; branch may be undefined if ds is not needed
};

// Moves with every batch: running += momentum (batch - running), the variance unbiased by rows /
// (rows - 1). `batches`, an i64 [] counter, grows by 1 if given.
struct RunningStatistics {
  Tensor &mean, &var;  // [C]
  double momentum;
  Tensor* batches = nullptr;
};

struct NmfOptions {
  int steps = 6;
  double inv_t = 1;
};
enum class NmfKeep { nothing, last_step, all_steps };
struct NmfResult {
  Tensor y, coef;            // [B,P,D] of x's dtype, [B,P,R]
  std::vector<Tensor> kept;  // the backend's own
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

// W [O, I] and b [O] with each output's times s [O], which may be undefined (1).
struct ScaledRows {
  Tensor weight, bias;
};
Needs with_scale(Needs needs, const Tensor& bias, bool needs_ds);  // what ds is made of, too
ScaledRows scale_rows(const Tensor& weight, const Tensor& bias, const Tensor& s);
// And from the gradients of these those of W, b and s: as what they make is linear in them, ds is
// the sum over inputs of W dV + b dc.
LinearResidualGradients through_scale(const LinearBranch& b, ConvGradients d, bool needs_ds);
// And those that come by `extra`, if there is one.
LinearResidualGradients with_extra(LinearResidualGradients g, const LinearBranch& b,
                                   const Tensor& dy, bool needs_ds);

class Fused {
 public:
  virtual ~Fused() = default;
  // What only the CUDA backend does in one launch.
  virtual void lerp(Tensor& y, const Tensor& x, double t);  // y += t (x - y), contiguous
  // Masks of dropout_mask(), [count, n]: row i with probability p[i] and the key of use first.use
  // + i.
  virtual Tensor dropout_masks(std::int64_t n, DType dtype, const std::vector<double>& p,
                               const RandomKey& first);
  // By a batch of so many rows, whose variance is recovered as 1 / rstd^2 - eps.
  virtual void update_running(const RunningStatistics& running, const Tensor& mean,
                              const Tensor& rstd, double eps, std::int64_t rows);
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
  // Each x [B,P,D], not negative, as y = c b^T of few columns: Lee and Seung's multiplicative
  // updates (2001) with 1e-6 in their quotients, from given bases [B,D,R] and c = softmax(inv_t x
  // b); `steps` times c, then b, and c once more. `keep`: for a backward through all steps, or
  // through the last update of c alone.
  virtual NmfResult nmf(const Tensor& x, const Tensor& bases, const NmfOptions& o, NmfKeep keep);
  // dL/dx by what was kept, the first bases being constants. May write to it, but leaves it so that
  // another call gives the same.
  virtual Tensor nmf_backward(const Tensor& x, const NmfResult& r, const NmfOptions& o,
                              NmfKeep kept, const Tensor& dy);
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
