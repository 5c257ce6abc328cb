// The primitives, read within Backend (NEXTGRAD_OP: = 0) and within each backend (NEXTGRAD_OP:
// override), so that the list stands once.
virtual std::string description() const NEXTGRAD_OP;  // "AVX2, 2 threads"
// What this device can do at most, measured anew (about 0.3 s): no op is faster than its FLOPs or
// its bytes allow (Williams, Waterman and Patterson, "Roofline", 2009).
virtual Roofline roofline() NEXTGRAD_OP;

// --- elementwise: elementwise.cpp, any strides and any dtype for fill and copy ---
virtual void fill(Tensor& out, double value) NEXTGRAD_OP;
// out = cast(broadcast(source)); any strides and dtypes on both sides, no overlap.
virtual void copy(const Tensor& source, Tensor& out) NEXTGRAD_OP;
virtual void axpy(Tensor& y, const Tensor& x,
                  double alpha) NEXTGRAD_OP;  // y += alpha x, contiguous
virtual Tensor unary(Unary op, const Tensor& x, double alpha) NEXTGRAD_OP;
// dL/dx for dy = dL/dy; `read` is x, f(x) or undefined, as facts_of(op) says.
virtual Tensor unary_backward(Unary op, const Tensor& read, const Tensor& dy,
                              double alpha) NEXTGRAD_OP;
// Broadcasts by NumPy's rule; inputs may have any strides.
virtual Tensor binary(Binary op, const Tensor& a, const Tensor& b) NEXTGRAD_OP;

// --- reductions: reduce.cpp ---
// Over the given (sorted, distinct) axes, which stay as extent 1. Accumulates f32 so that the
// relative error stays near 1e-6 for millions of elements (pairwise, blocked, or in double).
virtual Tensor reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) NEXTGRAD_OP;
virtual Tensor argmax(const Tensor& x, int axis) NEXTGRAD_OP;  // i64, axis removed; first of equals

// --- indexing: gather.cpp ---
// out[..., i, ...] = x[..., index[..., i, ...], ...] along `axis` (torch.gather); index i64 of
// the output's shape. Throws for an index out of range.
virtual Tensor gather(const Tensor& x, int axis, const Tensor& index) NEXTGRAD_OP;
virtual Tensor gather_backward(const Shape& x_shape, int axis, const Tensor& index,
                               const Tensor& dy) NEXTGRAD_OP;

// --- random: random.cpp. Element i takes number key.first + i of the Philox stream of `key` ---
virtual Tensor random_uniform(const Shape& shape, DType dtype,
                              const RandomKey& key) NEXTGRAD_OP;  // [0,1)
virtual Tensor random_normal(const Shape& shape, DType dtype, const RandomKey& key) NEXTGRAD_OP;
// 0 with probability p, else 1 / (1 - p): a dropout mask.
virtual Tensor dropout_mask(const Shape& shape, DType dtype, double p,
                            const RandomKey& key) NEXTGRAD_OP;

// --- matrix products: matmul.cpp ---
// C[b] = op(A[b]) op(B[b]), A [B,M,K] (transposed: [B,K,M]), B [B,K,N] (transposed: [B,N,K]).
// A batch extent of 1 in A or B is broadcast.
virtual Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a,
                      bool transpose_b) NEXTGRAD_OP;

// --- convolution: conv.cpp ---
// x [N,H,W,I], weight [O,kh,kw,I/groups], bias [O] or undefined -> [N,OH,OW,O].
virtual Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Window& window, int groups) NEXTGRAD_OP;
virtual ConvGradients conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                      const Window& window, int groups, Needs needs) NEXTGRAD_OP;

// --- depth-wise convolution: depthwise.cpp ---
// y = base + depthwise(x, weight) + bias; x [N,H,W,C], weight [kh,kw,C], bias [C] or undefined,
// base [N,OH,OW,C] or undefined.
virtual Tensor depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const Tensor& base, const Window& window) NEXTGRAD_OP;
// dx is added to `onto` if given, which may take its place.
virtual ConvGradients depthwise_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                         const Window& window, Needs needs,
                                         const Tensor& onto = {}) NEXTGRAD_OP;

// --- resize: resize.cpp. x [N,H,W,C] -> [N,h,w,C]; half-pixel centres as PyTorch's
// interpolate(align_corners=False), borders clamped ---
virtual Tensor resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) NEXTGRAD_OP;
virtual Tensor resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) NEXTGRAD_OP;
// Some rows of a bilinear resize, for pictures too large to exist at once: x [N,rows,W,C] ->
// [N,band.out_rows,w,C]. Throws unless x holds rows_read(band).
virtual Tensor resize_band(const Tensor& x, const RowBand& band, std::int64_t w) NEXTGRAD_OP;

// --- losses: loss.cpp ---
// logits [P, K], labels i32 [P] in [0, K) or ignore_label, class weights [K] or undefined.
// Anything else in the labels throws: at once, or on a device that computes while the host goes
// on, from the next call that waits for it (download, synchronize). dloss is [].
virtual CrossEntropyResult cross_entropy(const Tensor& logits,
                                         const CrossEntropyTarget& t) NEXTGRAD_OP;
virtual Tensor cross_entropy_backward(const Tensor& logits, const CrossEntropyTarget& t,
                                      const CrossEntropyResult& r, const Tensor& dloss) NEXTGRAD_OP;

// --- optimiser: optimizer.cpp, one pass over all parameters, in place; decay is each slot's ---
virtual void adamw(std::vector<OptimizerSlot>& slots, const AdamWOptions& o,
                   const GradientNorm& norm) NEXTGRAD_OP;
virtual void sgd(std::vector<OptimizerSlot>& slots, const SGDOptions& o,
                 const GradientNorm& norm) NEXTGRAD_OP;
