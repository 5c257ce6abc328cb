// Captures: CUDA graphs made of what the stream is told.
#include "cuda/device/cuda_backend.h"
#include "cuda/device/gemm.h"
#include "cuda/device/operands.h"
#include "cuda/device/transfer.h"

namespace nextgrad::cuda {

namespace {

__global__ void set_kernel(Progress* to, Progress value) {
  if (threadIdx.x == 0) *to = value;
}

}  // namespace

class CudaCapture final : public Capture {
 public:
  CudaCapture(CudaBackend& backend, const std::function<void()>& work) : backend_(backend) {
    use_device(backend_.index_);
    backend_.operands_->begin_capture();
    pool_ = backend_.allocator_->begin_pool();
    backend_.capturing_ = true;
    cudaGraph_t graph = nullptr;
    std::exception_ptr thrown;
    // Relaxed: the allocator may ask for memory while the stream is captured.
    cudaError_t status = cudaStreamBeginCapture(backend_.stream_, cudaStreamCaptureModeRelaxed);
    if (status == cudaSuccess) {
      writes_.open();
      try {
        work();
      } catch (...) {
        thrown = std::current_exception();
      }
      writes_.close();
      status = cudaStreamEndCapture(backend_.stream_, &graph);
    }
    backend_.capturing_ = false;
    operands_ = backend_.operands_->end_capture();
    backend_.allocator_->end_pool();
    if (status == cudaSuccess && !thrown) status = cudaGraphInstantiate(&graph_, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (status == cudaSuccess && !thrown) return;
    cudaGetLastError();  // or the next launch would report it
    backend_.allocator_->drop_pool(pool_);
    if (thrown) std::rethrow_exception(thrown);
    cuda_check(status, "capturing a graph");
  }
  ~CudaCapture() override {
    cudaStreamSynchronize(backend_.stream_);  // it may still run
    cudaGraphExecDestroy(graph_);
    backend_.allocator_->drop_pool(pool_);
  }
  CudaCapture(const CudaCapture&) = delete;
  CudaCapture& operator=(const CudaCapture&) = delete;

  void replay(std::uint64_t iterations, double lr_ratio) override {
    const Progress now{iterations, lr_ratio}, none{0, 1};
    use_device(backend_.index_);
    backend_.operands_->refresh(operands_);
    set_progress(now);
    cuda_check(cudaGraphLaunch(graph_, backend_.stream_), "replaying a graph");
    set_progress(none);  // for what is not captured
    writes_.again();
    backend_.collectives_ = true;
  }

 private:
  // By a kernel: a copy from the host's memory would read that later, when it has changed.
  void set_progress(const Progress& value) {
    launch("set_progress", set_kernel, {dim3(1), dim3(32)}, backend_.stream_, backend_.progress_,
           value);
  }
  CudaBackend& backend_;
  CachingAllocator::Pool pool_ = 0;
  cudaGraphExec_t graph_ = nullptr;
  Writes writes_;
  Operands::Used operands_;
};

std::unique_ptr<Capture> CudaBackend::capture(const std::function<void()>& work) {
  return std::make_unique<CudaCapture>(*this, work);
}

std::unique_ptr<Transfer> CudaBackend::send(const Tensor& host) {
  return transfers_->send(host);
}

void CudaBackend::allow_tf32(bool yes) {
  gemm_->tf32 = yes;
}

}  // namespace nextgrad::cuda
