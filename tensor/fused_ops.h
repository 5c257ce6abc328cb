// The fused ops that both the CPU and the CUDA backend do in one pass, read within Fused
// (NEXTGRAD_OP: nothing) and within each backend (NEXTGRAD_OP: override), so that the list stands
// once.
// --- elementwise and reductions ---
// L2 norm of all the tensors' elements together, summed in double: f64 [].
virtual Tensor norm(const std::vector<Tensor>& all) NEXTGRAD_OP;
// Softmax over the last axis; `log`: log-softmax.
virtual Tensor softmax(const Tensor& x, bool log) NEXTGRAD_OP;

// --- linear layers ---
// y = activation(x W^T + bias): x [M, I], weight [O, I], bias [O] or undefined. If
// `pre_activation` is given, it receives x W^T + bias.
virtual Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                      Activation activation, Tensor* pre_activation) NEXTGRAD_OP;
// Gradients of x W^T + bias: dy [M, O]. `onto`, here and below: what dx is added to, if given; it
// may take the place of dx.
virtual ConvGradients linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                      Needs needs, const Tensor& onto = {}) NEXTGRAD_OP;
// y = base_scale[c] base + mask[n] s[c] (f(x) W^T + bias + extra): x [N, ..., I], base and y
// [N, ..., O], base_scale [O] or undefined (1). `moments` as of residual().
virtual Tensor linear_residual(const Tensor& base, const Tensor& x, const LinearBranch& b,
                               Tensor* moments = nullptr,
                               const Tensor& base_scale = {}) NEXTGRAD_OP;
// Its gradients; that of base is dy itself. The bias and `extra` are read for ds alone.
virtual LinearResidualGradients linear_residual_backward(const Tensor& x, const LinearBranch& b,
                                                         const Tensor& dy, Needs needs,
                                                         bool needs_ds) NEXTGRAD_OP;

// y = base + mask[n] (contract gelu(taps * (expand x + expand_bias) + taps_bias) + contract_bias);
// taps is a depth-wise 3x3 padded by zeros. x [N,H,W,C], base and y [N,H,W,O], mask [N]. Biases and
// mask may be undefined.
virtual Tensor feed_forward(const Tensor& base, const Tensor& x, const FeedForwardWeights& f,
                            const Tensor& mask = {}) NEXTGRAD_OP;

// --- attention ---
// y = softmax(scale q k^T) v in each of `heads` heads, whose channels lie side by side: head h has
// channels [h D, (h + 1) D) of q [B,M,heads*D] and k [B,N,heads*D], and E of v [B,N,heads*E] and y
// [B,M,heads*E]. log_sum [B,heads,M]: the logarithms of the softmax's sums, from which the backward
// makes the weights [M,N] anew, so that they need not exist. Of no rows of k, y is 0.
virtual AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads,
                                  double scale) NEXTGRAD_OP;
virtual AttentionGradients attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                              const Tensor& y, const Tensor& log_sum,
                                              const Tensor& dy, int heads,
                                              double scale) NEXTGRAD_OP;

// --- multi-scale strips ---
// y = x + sum over strips of depthwise(depthwise(x, row) + row_bias, column) + column_bias, k
// odd, stride 1, zeros around the image at both steps; x [N,H,W,C]. The row results never exist.
virtual Tensor strips(const Tensor& x, const std::vector<Strip>& strips) NEXTGRAD_OP;
virtual StripsGradients strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                        const Tensor& dy) NEXTGRAD_OP;

// --- normalisation. x [..., C]; gamma, beta [C] ---
// Batch norm over all axes but the last, biased variance: y = (x - mean) rstd gamma + beta.
// `moments` are those that the op which made x left, or undefined; no result depends on them.
// `running`, if given, moves on by these statistics.
virtual NormResult batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps,
                              const Tensor& moments = {},
                              const RunningStatistics* running = nullptr) NEXTGRAD_OP;
virtual NormGradients batch_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                          const Tensor& rstd, const Tensor& dy,
                                          const Tensor& onto = {}) NEXTGRAD_OP;
// y = (x - centre) (rstd scale) + shift, per channel: x [..., C], others [C], centre (0) and rstd
// (1) may be undefined. Rounded just as batch_norm() rounds it.
virtual Tensor channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift,
                              const Tensor& centre, const Tensor& rstd = {}) NEXTGRAD_OP;
// The parts of batch norm, for statistics that go over the rows of several processes: their sums
// over all axes but the last add up. x, dy [..., C]; centre [C]; sums f64 [2, C].
// Of x - centre and of (x - centre)^2; centre may be undefined (0).
virtual Tensor channel_moments(const Tensor& x, const Tensor& centre) NEXTGRAD_OP;
// Of dy and of dy (x - centre).
virtual Tensor channel_products(const Tensor& x, const Tensor& centre,
                                const Tensor& dy) NEXTGRAD_OP;
// dx = a dy - b (x - centre) - d: coefficients [3, C] are a, b, d (fused.cpp).
virtual Tensor channel_gradient(const Tensor& x, const Tensor& centre, const Tensor& dy,
                                const Tensor& coefficients) NEXTGRAD_OP;
// Layer norm over the last axis; mean and rstd per row.
virtual NormResult layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                              double eps) NEXTGRAD_OP;
virtual NormGradients layer_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                          const Tensor& rstd, const Tensor& dy) NEXTGRAD_OP;
// Group norm: x [N, ..., C], statistics per image and group of C / groups channels [N, groups].
virtual NormResult group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int groups,
                              double eps) NEXTGRAD_OP;
virtual NormGradients group_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                          const Tensor& rstd, const Tensor& dy,
                                          int groups) NEXTGRAD_OP;

// --- residual connections and gates ---
// y = x + mask[n] * s[c] * branch: x, branch [N, ..., C]; s [C] or undefined (1); mask [N] or
// undefined (1): residual connection with layer scale and drop path. If `moments` is given, a
// device that can leaves there what batch_norm() of y can use: sums it found in passing.
virtual Tensor residual(const Tensor& x, const Tensor& branch, const Tensor& s, const Tensor& mask,
                        Tensor* moments = nullptr) NEXTGRAD_OP;
virtual ResidualGradients residual_backward(const Tensor& branch, const Tensor& s,
                                            const Tensor& mask, const Tensor& dy,
                                            bool needs_ds) NEXTGRAD_OP;

// --- resized logits ---
// argmax over channels of resize(x, h, w, bilinear) the full-size logits need not exist: i32
// [N,h,w].
virtual Tensor resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) NEXTGRAD_OP;
// Backend::cross_entropy() on bilinearly upsampled logits (half-pixel): logits [N,h,w,K], labels
// i32 [N,H,W]; the full-size logits need not exist. log_sum is [N,H,W].
virtual CrossEntropyResult upsample_cross_entropy(const Tensor& logits,
                                                  const CrossEntropyTarget& t) NEXTGRAD_OP;
virtual Tensor upsample_cross_entropy_backward(const Tensor& logits, const CrossEntropyTarget& t,
                                               const CrossEntropyResult& r,
                                               const Tensor& dloss) NEXTGRAD_OP;
