// Copies from the host that run beside the computation: host memory -> pinned buffer -> device
// buffer on a stream of their own.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "cuda/kit/runtime.h"
#include "tensor/backend.h"

namespace nextgrad::cuda {

// The buffers of one device, used again and again. They never mix with the tensors' memory, whose
// reuse is safe on the computing stream alone.
class TransferBuffers : public std::enable_shared_from_this<TransferBuffers> {
 public:
  TransferBuffers(int device, cudaStream_t computing);
  ~TransferBuffers();
  TransferBuffers(const TransferBuffers&) = delete;
  TransferBuffers& operator=(const TransferBuffers&) = delete;

  std::unique_ptr<Transfer> send(const Tensor& host);

 private:
  friend class CudaTransfer;
  struct Buffer {
    void *pinned = nullptr, *device = nullptr;
    std::size_t bytes = 0;
    cudaEvent_t arrived = nullptr, free = nullptr;  // on the device; taken out of it
  };
  Buffer take(std::size_t bytes);  // the smallest that is large enough
  void give(Buffer buffer);
  void release(const Buffer& buffer);

  int device_;
  cudaStream_t computing_, copying_ = nullptr;
  std::mutex mutex_;
  std::vector<Buffer> idle_;  // by size
};

}  // namespace nextgrad::cuda
