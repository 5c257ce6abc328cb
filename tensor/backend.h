// Backend: every primitive a device must offer, one method each, and the ops made of them
// (fused.h). Adding an op is: one method here or there, one CPU kernel (tensor/cpu/ops/), one CUDA
// kernel (cuda/ops/), one autograd function, one gradcheck line. Adding an elementwise op:
// elementwise.h.
//
// Rules for all methods, unless a comment says otherwise:
//  - inputs are contiguous, on this device, of one floating dtype T: f32 or f64, and bf16 where the
//    device computes in it (then parameters, statistics and sums are f32); callers in autograd/
//    have checked shapes and dtypes and said what was wrong, so methods do not repeat it;
//  - results are new contiguous tensors, which share no memory with an input; a tensor passed as
//    `Tensor&` is written in place, its version bumped, and no other argument may overlap it;
//  - an optional tensor is passed undefined;
//  - a sum over many elements has an order that does not depend on the number of threads;
//  - each method opens an OpScope (profile.h) with its FLOPs and fewest bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tensor/capture.h"
#include "tensor/elementwise.h"
#include "tensor/fused.h"
#include "tensor/optimizer_slot.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace nextgrad {

enum class Reduce { sum, mean };

enum class Resize { bilinear, bilinear_align_corners, nearest };
// Some rows of a bilinear resize from in_height to out_height rows: wanted are the output rows
// [out_top, out_top + out_rows); at hand are source rows from in_top on.
struct RowBand {
  std::int64_t in_height, in_top;
  std::int64_t out_height, out_top, out_rows;
};
// The source rows [first, last) that such a band reads (in_top does not matter).
std::pair<std::int64_t, std::int64_t> rows_read(const RowBand& band);

struct Roofline {
  double flops;  // f32 multiply-adds in registers, two FLOPs each, per second
  double bytes;  // b[i] = 1.5 a[i] on arrays that no cache holds: read plus written, per second
};

class Backend : public Fused {
 public:
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
  // as the capture lives: those it leaves hold the results of the latest replay.
  virtual std::unique_ptr<Capture> capture(const std::function<void()>&) { return nullptr; }
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

  // --- matrix products: matmul.cpp ---
  // C[b] = op(A[b]) op(B[b]), A [B,M,K] (transposed: [B,K,M]), B [B,K,N] (transposed: [B,N,K]).
  // A batch extent of 1 in A or B is broadcast.
  virtual Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) = 0;

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

  // --- resize: resize.cpp. x [N,H,W,C] -> [N,h,w,C]; half-pixel centres as PyTorch's
  // interpolate(align_corners=False), borders clamped ---
  virtual Tensor resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) = 0;
  virtual Tensor resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) = 0;
  // Some rows of a bilinear resize, for pictures too large to exist at once: x [N,rows,W,C] ->
  // [N,band.out_rows,w,C]. Throws unless x holds rows_read(band).
  virtual Tensor resize_band(const Tensor& x, const RowBand& band, std::int64_t w) = 0;

  // --- losses: loss.cpp ---
  // logits [P, K], labels i32 [P] in [0, K) or ignore_label, class weights [K] or undefined.
  // Anything else in the labels throws: at once, or on a device that computes while the host goes
  // on, from the next call that waits for it (download, synchronize). dloss is [].
  virtual CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels,
                                           const Tensor& weights, const CrossEntropyOptions& o) = 0;
  virtual Tensor cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                        const Tensor& weights, const CrossEntropyOptions& o,
                                        const CrossEntropyResult& r, const Tensor& dloss) = 0;

  // --- optimiser: optimizer.cpp, one pass over all parameters, in place ---
  // Decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019,
  // Algorithm 2): p -= lr wd p; m, v updated; p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) +
  // eps).
  virtual void adamw(std::vector<OptimizerSlot>& slots, double beta1, double beta2, double eps,
                     const GradientNorm& norm) = 0;
  // g = grad + wd p; m = momentum m + g (step 1: g); p -= lr (nesterov ? g + momentum m : m).
  virtual void sgd(std::vector<OptimizerSlot>& slots, double momentum, bool nesterov,
                   const GradientNorm& norm) = 0;

 protected:
  Backend& primitives() final { return *this; }
};

// The backend of a device; throws if this build or machine has none.
Backend& backend_of(Device device);
// A backend of another device registers its maker before main(); the CPU is always there, but
// another backend may take its place before its first use.
void register_backend(Device::Kind kind, Backend* (*create)(int index));

}  // namespace nextgrad
