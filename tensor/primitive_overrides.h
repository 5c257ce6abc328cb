// The primitives of Backend that every backend defines: read within the class of each, so that the
// list stands once.
std::string description() const override;
Roofline roofline() override;
void fill(Tensor& out, double value) override;
void copy(const Tensor& source, Tensor& out) override;
void axpy(Tensor& y, const Tensor& x, double alpha) override;
Tensor unary(Unary op, const Tensor& x, double alpha) override;
Tensor unary_backward(Unary op, const Tensor& read, const Tensor& dy, double alpha) override;
Tensor binary(Binary op, const Tensor& a, const Tensor& b) override;
Tensor reduce(Reduce op, const Tensor& x, const std::vector<int>& axes) override;
Tensor argmax(const Tensor& x, int axis) override;
Tensor gather(const Tensor& x, int axis, const Tensor& index) override;
Tensor gather_backward(const Shape& x_shape, int axis, const Tensor& index,
                       const Tensor& dy) override;
Tensor random_uniform(const Shape& shape, DType dtype, const RandomKey& key) override;
Tensor random_normal(const Shape& shape, DType dtype, const RandomKey& key) override;
Tensor dropout_mask(const Shape& shape, DType dtype, double p, const RandomKey& key) override;
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) override;
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Window& window,
              int groups) override;
ConvGradients conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                              const Window& window, int groups, Needs needs) override;
Tensor depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& base,
                 const Window& window) override;
ConvGradients depthwise_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                 const Window& window, Needs needs) override;
Tensor resize(const Tensor& x, std::int64_t h, std::int64_t w, Resize mode) override;
Tensor resize_backward(const Shape& x_shape, const Tensor& dy, Resize mode) override;
Tensor resize_band(const Tensor& x, const RowBand& band, std::int64_t w) override;
CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels, const Tensor& weights,
                                 const CrossEntropyOptions& o) override;
Tensor cross_entropy_backward(const Tensor& logits, const Tensor& labels, const Tensor& weights,
                              const CrossEntropyOptions& o, const CrossEntropyResult& r,
                              const Tensor& dloss) override;
void adamw(std::vector<OptimizerSlot>& slots, double beta1, double beta2, double eps,
           const GradientNorm& norm) override;
void sgd(std::vector<OptimizerSlot>& slots, double momentum, bool nesterov,
         const GradientNorm& norm) override;
