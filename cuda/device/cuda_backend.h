// The CUDA backend of one GPU. Each family of methods is implemented in the file of its name, as in
// tensor/cpu/: kernels above, the methods that dispatch on the dtype below.
//
// All work is submitted to one stream, and only download(), synchronize() and what is said to wait
// do wait. Activations may be f32, f64 or bf16; parameters, statistics and gradients of parameters
// are of parameter_dtype(activations).
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device/allocator.h"
#include "cuda/device/produced_statistics.h"
#include "cuda/kit/dispatch.h"
#include "cuda/kit/launch.h"
#include "cuda/kit/runtime.h"
#include "tensor/backend.h"
#include "tensor/profile.h"

namespace nextgrad::cuda {

class Gemm;
class TransferBuffers;

// What a kernel found wrong with its input; the host reads it when it waits.
struct Fault {
  enum Code : int { none, label, gather_index };
  int code;
  long long value, limit;
};
// Only the first counts.
__device__ __forceinline__ void report(Fault* fault, Fault::Code code, long long value,
                                       long long limit) {
  if (atomicCAS(&fault->code, static_cast<int>(Fault::none), static_cast<int>(code)) != 0) return;
  fault->value = value;
  fault->limit = limit;
}

// How far a recorded step has moved on since it was recorded; kernels of random numbers and of the
// optimiser read it, so that a replay draws the numbers and takes the rate of its own iteration.
struct Progress {
  unsigned long long iterations;  // added to RandomKey::iteration and OptimizerSlot::step
  double lr_ratio;                // multiplies OptimizerSlot::lr
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int index);
  ~CudaBackend() override;

  Device device() const override { return {Device::Kind::cuda, index_}; }
  void* allocate(std::size_t bytes) override;
  void release(void* block, std::size_t bytes) override;
  MemoryStats memory() const override { return allocator_->stats(); }
  void reset_peak() override { allocator_->reset_peak(); }
  void empty_cache() override;
  void upload(void* destination, const void* host, std::size_t bytes) override;
  void download(void* host, const void* source, std::size_t bytes) override;
  void synchronize() override;
  std::unique_ptr<Transfer> send(const Tensor& host) override;
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;
  void allow_tf32(bool yes) override;
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
  void expect_batch_norm() override { batch_norm_expected_ = true; }
  Tensor linear_residual(const Tensor& base, const Tensor& x, const Tensor& weight,
                         const Tensor& bias, Activation input, const Tensor& mask) override;
  ConvGradients linear_residual_backward(const Tensor& x, const Tensor& weight, Activation input,
                                         const Tensor& mask, const Tensor& dy,
                                         Needs needs) override;
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
  FoldedNorm fold_statistics(const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                             const Tensor& variance, double eps) override;
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
  CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels,
                                   const Tensor& weights, const CrossEntropyOptions& o) override;
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

 private:
  // The time of an op is that of its kernels: while a Profile is alive, each op waits for them.
  class Scope {
   public:
    template <class Name>
    Scope(const CudaBackend& backend, const Name& name, double flops, double bytes)
        : backend_(backend), op_(name, flops, bytes) {
      use_device(backend.index_);
    }
    ~Scope() {
      if (Profile::active() != nullptr && !backend_.recording_)
        cudaStreamSynchronize(backend_.stream_);
    }

   private:
    const CudaBackend& backend_;
    OpScope op_;
  };

  Tensor empty(const Shape& shape, DType dtype) const {
    return Tensor::empty(shape, dtype, device());
  }
  Tensor empty_like(const Tensor& x) const { return empty(x.shape(), x.dtype()); }
  void check_faults();
  // The loss and its normaliser from blocks' sums of losses and of labels' weights, [blocks, 2].
  void finish_cross_entropy(const Tensor& partials, const Tensor& labels,
                            const CrossEntropyOptions& o, const CrossEntropyResult& r);
  template <class Draw>
  Tensor random(const char* name, const Shape& shape, DType dtype, const RandomKey& key,
                const Draw& draw);
  // c = op(a) op(b) (+ bias), matrices or batches of them; `b` may be a parameter.
  void product(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, Tensor& c,
               const Tensor& bias);
  // y = base + activation(depthwise(x, weight) + bias); base and bias may be undefined. The window
  // must have 3 x 3 taps, stride and dilation 1 if the activation is GELU.
  void depthwise_into(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& base,
                      const Window& window, Activation activation, Tensor& y);
  // base + mask[image] s[channel] (branch + bias[channel]); any of s, bias and mask may be
  // undefined.
  Tensor residual_sum(const Tensor& base, const Tensor& branch, const Tensor& s, const Tensor& bias,
                      const Tensor& mask);

  friend class CudaRecording;

  int index_;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<CachingAllocator> allocator_;
  std::unique_ptr<Gemm> gemm_;
  Fault* fault_ = nullptr;        // on the device
  Fault* fault_seen_ = nullptr;   // its copy, pinned; faults_mutex_
  Progress* progress_ = nullptr;  // on the device
  std::mutex faults_mutex_;       // host threads that wait at once read one fault once
  bool recording_ = false;
  bool batch_norm_expected_ = false;  // of the next residual_sum()
  std::shared_ptr<TransferBuffers> transfers_;
  ProducedStatistics statistics_;
};

}  // namespace nextgrad::cuda
