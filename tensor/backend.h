// Backend: every primitive a device must offer, one method each. Adding an op is: one method here,
// one CPU kernel (tensor/cpu/), one CUDA kernel (cuda/), one autograd function, one gradcheck line.
//
// Rules for all methods, unless a comment says otherwise:
//  - inputs are contiguous, on this device, of one floating dtype T (f32 or f64); callers in
//    autograd/ have checked shapes and dtypes and said what was wrong, so methods do not repeat it;
//  - results are new contiguous tensors; a tensor passed as `Tensor&` is written in place and its
//    version bumped;
//  - an optional tensor is passed undefined;
//  - a sum over many elements has an order that does not depend on the number of threads;
//  - each method opens an OpScope (profile.h) with its FLOPs and fewest bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tensor/elementwise.h"
#include "tensor/optimizer_slot.h"
#include "tensor/random.h"
#include "tensor/recording.h"
#include "tensor/tensor.h"

namespace nextgrad {

enum class Reduce { sum, mean };
enum class Activation { none, gelu, relu };

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

enum class Resize { bilinear, bilinear_align_corners, nearest };
// Some rows of a bilinear resize from in_height to out_height rows: wanted are the output rows
// [out_top, out_top + out_rows); at hand are source rows from in_top on.
struct RowBand {
  std::int64_t in_height, in_top;
  std::int64_t out_height, out_top, out_rows;
};
// The source rows [first, last) that such a band reads (in_top does not matter).
std::pair<std::int64_t, std::int64_t> rows_read(const RowBand& band);

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
  // `all`: divide by the number of all pixels, ignored ones too (MMSegmentation's default,
  // SegNeXt); `valid`: by the summed weight of the pixels that count (PyTorch's mean); `none`: do
  // not divide.
  enum class Normalise { all, valid, none } normalise = Normalise::all;
};
struct CrossEntropyResult {
  Tensor loss;        // scalar []
  Tensor log_sum;     // what the backward needs: log-sum-exp per pixel [pixels]
  Tensor normaliser;  // [], what the sum was divided by (>= tiny: no valid pixel gives loss 0)
};

struct Roofline {
  double flops;  // f32 multiply-adds in registers, two FLOPs each, per second
  double bytes;  // b[i] = 1.5 a[i] on arrays that no cache holds: read plus written, per second
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Device device() const = 0;

  // --- memory (storage.cpp calls these) ---
  virtual void* allocate(std::size_t bytes) = 0;  // caching; throws Error when out of memory
  virtual void release(void* block, std::size_t bytes) = 0;
  virtual MemoryStats memory() const = 0;
  virtual void reset_peak() = 0;
  virtual void empty_cache() = 0;
  virtual void upload(void* destination, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* source, std::size_t bytes) = 0;
  virtual void synchronize() {}
  // Starts to copy a contiguous tensor of the host; any thread may call it. The tensor may be
  // changed as soon as this returns.
  virtual std::unique_ptr<Transfer> send(const Tensor& host);
  // Calls the work once, without doing what it submits, and returns what will do that; null on a
  // device that cannot (the CPU), which calls nothing. The work must not wait for the device, and
  // what it reads from outside must stay where it is. Its own tensors keep their memory for as long
  // as the recording lives: those it leaves hold the results of the latest replay.
  virtual std::unique_ptr<Recording> record(const std::function<void()>&) { return nullptr; }
  // Whether products of f32 may round their inputs to 10 bits (TF32, on tensor cores). No, at
  // first.
  virtual void allow_tf32(bool) {}
  virtual std::string description() const = 0;  // "AVX2, 2 threads"
  // What this device can do at most, measured anew (about 0.3 s): no op is faster than its FLOPs or
  // its bytes allow (Williams, Waterman and Patterson, "Roofline", 2009).
  virtual Roofline roofline() = 0;

  // --- elementwise: elementwise.cpp, any strides and any dtype for fill and copy ---
  virtual void fill(Tensor& out, double value) = 0;
  // out = cast(broadcast(source)); any strides and dtypes on both sides, no overlap.
  virtual void copy(const Tensor& source, Tensor& out) = 0;
  virtual void axpy(Tensor& y, const Tensor& x, double alpha) = 0;  // y += alpha x, contiguous
  virtual void scale(Tensor& y, double alpha) = 0;                  // y *= alpha, contiguous
  virtual void lerp(Tensor& y, const Tensor& x, double t) = 0;      // y += t (x - y), contiguous
  virtual Tensor unary(Unary op, const Tensor& x, double alpha) = 0;
  // dL/dx for dy = dL/dy; `read` is x, f(x) or undefined, as facts_of(op) says.
  virtual Tensor unary_backward(Unary op, const Tensor& read, const Tensor& dy, double alpha) = 0;
  // Broadcasts by NumPy's rule; inputs may have any strides.
  virtual Tensor binary(Binary op, const Tensor& a, const Tensor& b) = 0;

  // --- reductions: reduce.cpp ---
  // Over the given (sorted, distinct) axes, which stay as extent 1. Accumulates f32 so that the
  // relative error stays near 1e-6 for millions of elements (pairwise, blocked, or in double).
  virtual Tensor reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) = 0;
  virtual Tensor argmax(const Tensor& x, int axis) = 0;  // i64, axis removed; first of equals
  // L2 norm of all the tensors' elements together, summed in double: f64 [].
  virtual Tensor norm(const std::vector<Tensor>& all) = 0;
  virtual bool all_finite(const Tensor& x) = 0;
  // Softmax over the last axis; `log`: log-softmax.
  virtual Tensor softmax(const Tensor& x, bool log) = 0;
  virtual Tensor softmax_backward(const Tensor& y, const Tensor& dy, bool log) = 0;

  // --- indexing: gather.cpp ---
  // out[..., i, ...] = x[..., index[..., i, ...], ...] along `axis` (torch.gather); index i64 of
  // the output's shape. Throws for an index out of range.
  virtual Tensor gather(const Tensor& x, int axis, const Tensor& index) = 0;
  virtual Tensor gather_backward(const Shape& x_shape, int axis, const Tensor& index,
                                 const Tensor& dy) = 0;

  // --- random: random.cpp. Element i takes number i of the Philox stream of `key` ---
  virtual Tensor random_uniform(const Shape& shape, DType dtype,
                                const RandomKey& key) = 0;  // [0,1)
  virtual Tensor random_normal(const Shape& shape, DType dtype, const RandomKey& key) = 0;
  // 0 with probability p, else 1 / (1 - p): a dropout mask.
  virtual Tensor dropout_mask(const Shape& shape, DType dtype, double p, const RandomKey& key) = 0;

  // --- matrix products: matmul.cpp, linear.cpp ---
  // C[b] = op(A[b]) op(B[b]), A [B,M,K] (transposed: [B,K,M]), B [B,K,N] (transposed: [B,N,K]).
  // A batch extent of 1 in A or B is broadcast.
  virtual Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) = 0;
  // y = activation(x W^T + bias): x [M, I], weight [O, I], bias [O] or undefined. If
  // `pre_activation` is given, it receives x W^T + bias.
  virtual Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        Activation activation, Tensor* pre_activation) = 0;
  // Gradients of x W^T + bias: dy [M, O].
  virtual ConvGradients linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                        Needs needs) = 0;
  // A hint: batch_norm() will probably read what the next linear_residual() or residual() writes,
  // so that a device may find the statistics in passing. No result depends on it, and where it was
  // wrong it cost a little time. The layer says it: that gradients are recorded would be no sign,
  // as the first run of a checkpoint in training records none.
  virtual void expect_batch_norm() {}
  // The end of a residual branch, y = base + mask[n] (f(x) W^T + bias): x [N, ..., I], base and y
  // [N, ..., O], mask [N] or undefined (1), f = `input`.
  virtual Tensor linear_residual(const Tensor& base, const Tensor& x, const Tensor& weight,
                                 const Tensor& bias, Activation input, const Tensor& mask) = 0;
  // Its gradients; that of base is dy itself.
  virtual ConvGradients linear_residual_backward(const Tensor& x, const Tensor& weight,
                                                 Activation input, const Tensor& mask,
                                                 const Tensor& dy, Needs needs) = 0;

  // --- MSCAN's feed-forward part, evaluation only: feed_forward.cpp ---
  // y = base + contract gelu(taps * (expand x + expand_bias) + taps_bias) + contract_bias; taps is
  // a depth-wise 3x3 padded by zeros. x [N,H,W,C], base and y [N,H,W,O]. Biases may be undefined.
  struct FeedForward {
    Tensor expand, expand_bias;      // [hidden, C], [hidden]
    Tensor taps, taps_bias;          // [3, 3, hidden], [hidden]
    Tensor contract, contract_bias;  // [O, hidden], [O]
  };
  virtual Tensor feed_forward(const Tensor& base, const Tensor& x, const FeedForward& f) = 0;

  // --- convolution: conv.cpp ---
  // x [N,H,W,I], weight [O,kh,kw,I/groups], bias [O] or undefined -> [N,OH,OW,O].
  virtual Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Window& window, int groups) = 0;
  virtual ConvGradients conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                        const Window& window, int groups, Needs needs) = 0;

  // --- depth-wise convolution: depthwise.cpp ---
  // y = base + depthwise(x, weight) + bias; x [N,H,W,C], weight [kh,kw,C], bias [C] or undefined,
  // base [N,OH,OW,C] or undefined.
  virtual Tensor depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Tensor& base, const Window& window) = 0;
  virtual ConvGradients depthwise_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                           const Window& window, Needs needs) = 0;

  // --- multi-scale strips of MSCA: strips_*.cpp ---
  // y = x + sum over strips of depthwise(depthwise(x, row) + row_bias, column) + column_bias, k
  // odd, stride 1, zeros around the image at both steps; x [N,H,W,C]. The row results never exist.
  virtual Tensor strips(const Tensor& x, const std::vector<Strip>& strips) = 0;
  virtual StripsGradients strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                          const Tensor& dy) = 0;

  // --- normalisation: norm.cpp. x [..., C]; gamma, beta [C] ---
  // Batch norm over all axes but the last, biased variance: y = (x - mean) rstd gamma + beta.
  virtual NormResult batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                double eps) = 0;
  virtual NormGradients batch_norm_backward(const Tensor& x, const Tensor& gamma,
                                            const Tensor& mean, const Tensor& rstd,
                                            const Tensor& dy) = 0;
  // running += momentum (batch - running), the variance unbiased by rows / (rows - 1); batch
  // variance is recovered as 1 / rstd^2 - eps. `batches`, an i64 [] counter, grows by 1 if given.
  virtual void update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                              const Tensor& rstd, double eps, std::int64_t rows, double momentum,
                              Tensor* batches) = 0;
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
                                const Tensor& centre) = 0;
  // Layer norm over the last axis; mean and rstd per row.
  virtual NormResult layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                double eps) = 0;
  virtual NormGradients layer_norm_backward(const Tensor& x, const Tensor& gamma,
                                            const Tensor& mean, const Tensor& rstd,
                                            const Tensor& dy) = 0;
  // Group norm: x [N, ..., C], statistics per image and group of C / groups channels [N, groups].
  virtual NormResult group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                int groups, double eps) = 0;
  virtual NormGradients group_norm_backward(const Tensor& x, const Tensor& gamma,
                                            const Tensor& mean, const Tensor& rstd,
                                            const Tensor& dy, int groups) = 0;

  // --- residual: residual.cpp ---
  // y = x + mask[n] * s[c] * branch: x, branch [N, ..., C]; s [C] or undefined (1); mask [N] or
  // undefined (1): residual connection with layer scale and drop path.
  virtual Tensor residual(const Tensor& x, const Tensor& branch, const Tensor& s,
                          const Tensor& mask) = 0;
  struct ResidualGradients {
    Tensor dbranch, ds;  // dx is dy itself; branch may be undefined if ds is not needed
  };
  virtual ResidualGradients residual_backward(const Tensor& branch, const Tensor& s,
                                              const Tensor& mask, const Tensor& dy,
                                              bool needs_ds) = 0;
  // Gradients of a * u in one pass: {dy * u, dy * a}.
  virtual std::pair<Tensor, Tensor> gate_backward(const Tensor& a, const Tensor& u,
                                                  const Tensor& dy) = 0;

  // --- resize: resize.cpp. x [N,H,W,C] -> [N,h,w,C]; half-pixel centres as PyTorch's
  // interpolate(align_corners=False), borders clamped ---
  virtual Tensor resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) = 0;
  virtual Tensor resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) = 0;
  // Some rows of a bilinear resize, for pictures too large to exist at once: x [N,rows,W,C] ->
  // [N,band.out_rows,w,C]. Throws unless x holds rows_read(band).
  virtual Tensor resize_band(const Tensor& x, const RowBand& band, std::int64_t w) = 0;
  // argmax over channels of resize(x, h, w, bilinear) without the full-size logits: i32 [N,h,w].
  virtual Tensor resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) = 0;

  // --- losses: loss.cpp ---
  // logits [P, K], labels i32 [P] in [0, K) or ignore_label, class weights [K] or undefined.
  // Anything else in the labels throws: at once, or on a device that computes while the host goes
  // on, from the next call that waits for it (download, synchronize). dloss is [].
  virtual CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels,
                                           const Tensor& weights, const CrossEntropyOptions& o) = 0;
  virtual Tensor cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                        const Tensor& weights, const CrossEntropyOptions& o,
                                        const CrossEntropyResult& r, const Tensor& dloss) = 0;
  // The same on bilinearly upsampled logits (half-pixel): logits [N,h,w,K], labels i32 [N,H,W];
  // the full-size logits never exist. log_sum is [N,H,W].
  virtual CrossEntropyResult upsample_cross_entropy(const Tensor& logits, const Tensor& labels,
                                                    const Tensor& weights,
                                                    const CrossEntropyOptions& o) = 0;
  virtual Tensor upsample_cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                                 const Tensor& weights,
                                                 const CrossEntropyOptions& o,
                                                 const CrossEntropyResult& r,
                                                 const Tensor& dloss) = 0;

  // --- optimiser: optimizer.cpp, one pass over all parameters, in place ---
  // Decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019,
  // Algorithm 2): p -= lr wd p; m, v updated; p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) +
  // eps).
  virtual void adamw(std::vector<OptimizerSlot>& slots, double beta1, double beta2, double eps,
                     const GradientNorm& norm) = 0;
  // g = grad + wd p; m = momentum m + g (step 1: g); p -= lr (nesterov ? g + momentum m : m).
  virtual void sgd(std::vector<OptimizerSlot>& slots, double momentum, bool nesterov,
                   const GradientNorm& norm) = 0;
};

// The backend of a device; throws if this build or machine has none.
Backend& backend_of(Device device);
// A backend of another device registers its maker before main(); the CPU is always there.
void register_backend(Device::Kind kind, Backend* (*create)(int index));

}  // namespace nextgrad
