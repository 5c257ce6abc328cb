// The methods of Backend that every backend overrides: read within the class of each, so that the
// list stands once.
std::string description() const override;
Roofline roofline() override;
void fill(Tensor& out, double value) override;
void copy(const Tensor& source, Tensor& out) override;
void axpy(Tensor& y, const Tensor& x, double alpha) override;
void scale(Tensor& y, double alpha) override;
void lerp(Tensor& y, const Tensor& x, double t) override;
Tensor unary(Unary op, const Tensor& x, double alpha) override;
Tensor unary_backward(Unary op, const Tensor& read, const Tensor& dy, double alpha) override;
Tensor binary(Binary op, const Tensor& a, const Tensor& b) override;
Tensor reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) override;
Tensor argmax(const Tensor& x, int axis) override;
Tensor norm(const std::vector<Tensor>& all) override;
bool all_finite(const Tensor& x) override;
Tensor softmax(const Tensor& x, bool log) override;
Tensor softmax_backward(const Tensor& y, const Tensor& dy, bool log) override;
Tensor gather(const Tensor& x, int axis, const Tensor& index) override;
Tensor gather_backward(const Shape& x_shape, int axis, const Tensor& index,
                       const Tensor& dy) override;
Tensor random_uniform(const Shape& shape, DType dtype, const RandomKey& key) override;
Tensor random_normal(const Shape& shape, DType dtype, const RandomKey& key) override;
Tensor dropout_mask(const Shape& shape, DType dtype, double p, const RandomKey& key) override;
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) override;
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation,
              Tensor* pre_activation) override;
ConvGradients linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                              Needs needs) override;
Tensor linear_residual(const Tensor& base, const Tensor& x, const Tensor& weight,
                       const Tensor& bias, Activation input, const Tensor& mask) override;
ConvGradients linear_residual_backward(const Tensor& x, const Tensor& weight, Activation input,
                                       const Tensor& mask, const Tensor& dy, Needs needs) override;
Tensor feed_forward(const Tensor& base, const Tensor& x, const FeedForward& f) override;
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Window& window,
              int groups) override;
ConvGradients conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                              const Window& window, int groups, Needs needs) override;
Tensor depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& base,
                 const Window& window) override;
ConvGradients depthwise_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                 const Window& window, Needs needs) override;
Tensor strips(const Tensor& x, const std::vector<Strip>& strips) override;
StripsGradients strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                const Tensor& dy) override;
NormResult batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                      double eps) override;
NormGradients batch_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                  const Tensor& rstd, const Tensor& dy) override;
void update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                    const Tensor& rstd, double eps, std::int64_t rows, double momentum,
                    Tensor* batches) override;
Tensor channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift,
                      const Tensor& centre) override;
NormResult layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                      double eps) override;
NormGradients layer_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                  const Tensor& rstd, const Tensor& dy) override;
NormResult group_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int groups,
                      double eps) override;
NormGradients group_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                  const Tensor& rstd, const Tensor& dy, int groups) override;
Tensor residual(const Tensor& x, const Tensor& branch, const Tensor& s,
                const Tensor& mask) override;
ResidualGradients residual_backward(const Tensor& branch, const Tensor& s, const Tensor& mask,
                                    const Tensor& dy, bool needs_ds) override;
std::pair<Tensor, Tensor> gate_backward(const Tensor& a, const Tensor& u,
                                        const Tensor& dy) override;
Tensor resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) override;
Tensor resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) override;
Tensor resize_band(const Tensor& x, const RowBand& band, std::int64_t w) override;
Tensor resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) override;
CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels, const Tensor& weights,
                                 const CrossEntropyOptions& o) override;
Tensor cross_entropy_backward(const Tensor& logits, const Tensor& labels, const Tensor& weights,
                              const CrossEntropyOptions& o, const CrossEntropyResult& r,
                              const Tensor& dloss) override;
CrossEntropyResult upsample_cross_entropy(const Tensor& logits, const Tensor& labels,
                                          const Tensor& weights,
                                          const CrossEntropyOptions& o) override;
Tensor upsample_cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                       const Tensor& weights, const CrossEntropyOptions& o,
                                       const CrossEntropyResult& r, const Tensor& dloss) override;
void adamw(std::vector<OptimizerSlot>& slots, double beta1, double beta2, double eps,
           const GradientNorm& norm) override;
void sgd(std::vector<OptimizerSlot>& slots, double momentum, bool nesterov,
         const GradientNorm& norm) override;
