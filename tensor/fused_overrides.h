// The fused ops that both the CPU and the CUDA backend do better than fused.cpp: read within the
// class of each.
void lerp(Tensor& y, const Tensor& x, double t) override;
Tensor norm(const std::vector<Tensor>& all) override;
Tensor softmax(const Tensor& x, bool log) override;
Tensor softmax_backward(const Tensor& y, const Tensor& dy, bool log) override;
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation,
              Tensor* pre_activation) override;
ConvGradients linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                              Needs needs) override;
Tensor linear_residual(const Tensor& base, const Tensor& x, const Tensor& weight,
                       const Tensor& bias, Activation input, const Tensor& mask,
                       Tensor* moments) override;
ConvGradients linear_residual_backward(const Tensor& x, const Tensor& weight, Activation input,
                                       const Tensor& mask, const Tensor& dy, Needs needs) override;
Tensor feed_forward(const Tensor& base, const Tensor& x, const FeedForward& f) override;
Tensor strips(const Tensor& x, const std::vector<Strip>& strips) override;
StripsGradients strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                const Tensor& dy) override;
NormResult batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps,
                      const Tensor& moments) override;
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
Tensor residual(const Tensor& x, const Tensor& branch, const Tensor& s, const Tensor& mask,
                Tensor* moments) override;
ResidualGradients residual_backward(const Tensor& branch, const Tensor& s, const Tensor& mask,
                                    const Tensor& dy, bool needs_ds) override;
std::pair<Tensor, Tensor> gate_backward(const Tensor& a, const Tensor& u,
                                        const Tensor& dy) override;
Tensor resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) override;
CrossEntropyResult upsample_cross_entropy(const Tensor& logits, const Tensor& labels,
                                          const Tensor& weights,
                                          const CrossEntropyOptions& o) override;
Tensor upsample_cross_entropy_backward(const Tensor& logits, const Tensor& labels,
                                       const Tensor& weights, const CrossEntropyOptions& o,
                                       const CrossEntropyResult& r, const Tensor& dloss) override;
