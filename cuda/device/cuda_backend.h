// The CUDA backend of one GPU. Each family of methods is implemented in the file of its name, as in
// tensor/cpu/: kernels above, the methods that dispatch on the dtype below.
//
// All work is submitted to one stream, and only download(), synchronize() and what is said to wait
// do wait. Activations may be f32, f64 or bf16; parameters, statistics and gradients of parameters
// are of parameter_dtype(activations).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device/allocator.h"
#include "cuda/kit/dispatch.h"
#include "cuda/kit/launch.h"
#include "cuda/kit/runtime.h"
#include "tensor/backend.h"
#include "tensor/profile.h"

namespace nextgrad::cuda {

class Gemm;
class Operands;
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

// How far a captured step has moved on since it was captured; kernels of random numbers and of the
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
  std::unique_ptr<Capture> capture(const std::function<void()>& work) override;
#ifdef NEXTGRAD_NCCL
  std::unique_ptr<Communicator> connect(Communicator& hosts) override;
#endif
  void allow_tf32(bool yes) override;
  Tensor softmax_backward(const Tensor& y, const Tensor& dy, bool log) override;
  void lerp(Tensor& y, const Tensor& x, double t) override;
  std::pair<Tensor, Tensor> gate_backward(const Tensor& a, const Tensor& u,
                                          const Tensor& dy) override;
  Tensor dropout_masks(std::int64_t n, DType dtype, const std::vector<double>& p,
                       const RandomKey& first) override;
  void update_running(const RunningStatistics& running, const Tensor& mean, const Tensor& rstd,
                      double eps, std::int64_t rows) override;
  FoldedNorm fold_statistics(const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                             const Tensor& variance, double eps) override;
  NmfResult nmf(const Tensor& x, const Tensor& bases, const NmfOptions& o, NmfKeep keep) override;
  Tensor nmf_backward(const Tensor& x, const NmfResult& r, const NmfOptions& o, NmfKeep kept,
                      const Tensor& dy) override;
#define NEXTGRAD_OP override
#include "tensor/fused_ops.h"
#include "tensor/primitives.h"
#undef NEXTGRAD_OP

 private:
  // The time of an op is that of its kernels: while a Profile is alive, each op waits for them.
  class Scope {
   public:
    Scope(const CudaBackend& backend, const Work& work) : backend_(backend), op_(work) {
      use_device(backend.index_);
    }
    ~Scope() {
      if (Profile::active() != nullptr && !backend_.capturing_)
        cudaStreamSynchronize(backend_.stream_);
    }

   private:
    const CudaBackend& backend_;
    OpScope op_;
  };

  Tensor empty(const Shape& shape, DType dtype) const {
    return Tensor::empty(shape, dtype, device());
  }
  Tensor empty_like(const Tensor& x) const {
    return empty(x.shape(), x.dtype());
  }
  void check_faults();
  // The loss and its normaliser from blocks' sums of losses and of labels' weights, [blocks, 2].
  void finish_cross_entropy(const Tensor& partials, const CrossEntropyTarget& t,
                            const CrossEntropyResult& r);
  template <class Draw>
  Tensor random(const char* name, const Shape& shape, DType dtype, const RandomKey& key,
                const Draw& draw);
  // c = op(a) op(b) (+ bias), matrices or batches of them; `b` may be a parameter. `add`: to c.
  void product(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, Tensor& c,
               const Tensor& bias, bool add = false);
  void unary_into(Unary op, const Tensor& x, double alpha, Tensor& y);    // y may be x
  Tensor activation_and_slope(Activation f, const Tensor& x, Tensor& d);  // f(x), and d *= f'(x)
  // y = base + activation(depthwise(x, weight) + bias); base and bias may be undefined. The window
  // must have 3 x 3 taps, stride and dilation 1 if the activation is GELU.
  void depthwise_into(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& base,
                      const Window& window, Activation activation, Tensor& y);
  // base_scale[channel] base + mask[image] s[channel] (branch + extra + bias[channel]); all but
  // base and branch may be undefined. If `moments` is given it receives the partials of
  // channel_statistics.h, of the sum as of one image.
  Tensor residual_sum(const Tensor& base, const Tensor& base_scale, const Tensor& branch,
                      const Tensor& extra, const Tensor& s, const Tensor& bias, const Tensor& mask,
                      Tensor* moments);
  // residual_backward(), and mask dy to `masked` if given.
  ResidualGradients branch_gradients(const Tensor& branch, const Tensor& s, const Tensor& mask,
                                     const Tensor& dy, bool needs_ds, Tensor* masked);

  friend class CudaCapture;
  friend class NcclCommunicator;

  int index_;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<CachingAllocator> allocator_;
  std::unique_ptr<Gemm> gemm_;
  std::unique_ptr<Operands> operands_;
  Fault* fault_ = nullptr;        // on the device
  Fault* fault_seen_ = nullptr;   // its copy, pinned; faults_mutex_
  Progress* progress_ = nullptr;  // on the device
  unsigned* arrivals_ = nullptr;  // on the device: the counters of kit/sums.h
  std::mutex faults_mutex_;       // host threads that wait at once read one fault once
  // Called after a wait for work that may hold collectives; throws if they were cut short.
  std::function<void()> after_collectives_;  // faults_mutex_
  std::atomic<bool> collectives_ = false;    // some may have been submitted since the last wait
  bool capturing_ = false;
  std::shared_ptr<TransferBuffers> transfers_;
};

}  // namespace nextgrad::cuda
