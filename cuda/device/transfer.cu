#include <algorithm>
#include <cstring>

#include "cuda/device/transfer.h"

namespace nextgrad::cuda {

class CudaTransfer final : public Transfer {
 public:
  CudaTransfer(std::shared_ptr<TransferBuffers> owner, TransferBuffers::Buffer buffer, Shape shape,
               DType dtype)
      : owner_(std::move(owner)), buffer_(buffer), shape_(shape), dtype_(dtype) {}
  ~CudaTransfer() override { owner_->give(buffer_); }
  CudaTransfer(const CudaTransfer&) = delete;
  CudaTransfer& operator=(const CudaTransfer&) = delete;

  // One more copy, at the speed of device memory: the tensor then lives where all others do, and a
  // captured step finds it at the same address each time.
  void receive(Tensor& destination) override {
    const Device own{Device::Kind::cuda, owner_->device_};
    check(destination.shape() == shape_ && destination.dtype() == dtype_ &&
              destination.device() == own && destination.is_contiguous(),
          "receive: a {} {} comes to {}, the destination is {} {} on {}", name_of(dtype_), shape_,
          own, name_of(destination.dtype()), destination.shape(), destination.device());
    const cudaStream_t stream = owner_->computing_;
    cuda_check(cudaStreamWaitEvent(stream, buffer_.arrived, 0), "waiting for a copy");
    cuda_check(cudaMemcpyAsync(destination.raw(), buffer_.device, destination.nbytes(),
                               cudaMemcpyDeviceToDevice, stream),
               "receiving a copy");
    cuda_check(cudaEventRecord(buffer_.free, stream), "receiving a copy");
    destination.bump_version();
  }

 private:
  std::shared_ptr<TransferBuffers> owner_;
  TransferBuffers::Buffer buffer_;
  Shape shape_;
  DType dtype_;
};

TransferBuffers::TransferBuffers(int device, cudaStream_t computing)
    : device_(device), computing_(computing) {
  cuda_check(cudaStreamCreateWithFlags(&copying_, cudaStreamNonBlocking), "creating a stream");
}

TransferBuffers::~TransferBuffers() {
  cudaStreamSynchronize(copying_);
  for (const Buffer& b : idle_) release(b);
  cudaStreamDestroy(copying_);
}

void TransferBuffers::release(const Buffer& b) {
  cudaEventSynchronize(b.arrived);
  cudaEventSynchronize(b.free);
  cudaFreeHost(b.pinned);
  cudaFree(b.device);
  cudaEventDestroy(b.arrived);
  cudaEventDestroy(b.free);
}

TransferBuffers::Buffer TransferBuffers::take(std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  const auto fits = std::ranges::find_if(idle_, [&](const Buffer& b) { return b.bytes >= bytes; });
  if (fits != idle_.end()) {
    const Buffer found = *fits;
    idle_.erase(fits);
    return found;
  }
  if (!idle_.empty()) {  // too small: sizes that only grow must not leave all of them behind
    release(idle_.back());
    idle_.pop_back();
  }
  Buffer b;
  b.bytes = bytes;
  cuda_check(cudaMallocHost(&b.pinned, bytes), "allocating pinned memory for copies");
  cuda_check(cudaMalloc(&b.device, bytes), "allocating GPU memory for copies");
  cuda_check(cudaEventCreateWithFlags(&b.arrived, cudaEventDisableTiming), "creating an event");
  cuda_check(cudaEventCreateWithFlags(&b.free, cudaEventDisableTiming), "creating an event");
  return b;
}

void TransferBuffers::give(Buffer buffer) {
  const std::scoped_lock lock(mutex_);
  const auto by_size = [](const Buffer& a, const Buffer& b) { return a.bytes < b.bytes; };
  idle_.insert(std::ranges::upper_bound(idle_, buffer, by_size), buffer);
}

std::unique_ptr<Transfer> TransferBuffers::send(const Tensor& host) {
  check(host.device() == Device{} && host.is_contiguous() && host.numel() > 0,
        "send: wants a contiguous tensor of the host, got {} {}", host.device(), host.shape());
  use_device(device_);
  const Buffer b = take(host.nbytes());
  // The pinned half is free when its copy has arrived, the device's half when it was taken out.
  cuda_check(cudaEventSynchronize(b.arrived), "waiting for a buffer");
  std::memcpy(b.pinned, host.raw(), host.nbytes());
  cuda_check(cudaStreamWaitEvent(copying_, b.free, 0), "waiting for a buffer");
  cuda_check(cudaMemcpyAsync(b.device, b.pinned, host.nbytes(), cudaMemcpyHostToDevice, copying_),
             "copying to the GPU");
  cuda_check(cudaEventRecord(b.arrived, copying_), "copying to the GPU");
  return std::make_unique<CudaTransfer>(shared_from_this(), b, host.shape(), host.dtype());
}

}  // namespace nextgrad::cuda
