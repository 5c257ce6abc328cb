// Batches on the device that trains. For a GPU, a thread takes them from the loader ahead of time
// and sends them while the GPU computes.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "data/stream/loader.h"
#include "tensor/backend.h"

namespace nextgrad {

class Feed {
 public:
  Feed(std::unique_ptr<Loader> loader, Device device);
  ~Feed();
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // The next batch into `batch`: on a GPU into the tensors it has, if they fit, so that a recorded
  // step finds each batch at the same addresses. Rethrows what the loader threw.
  void next(Batch& batch);
  double wait_seconds() const;  // how long next() has waited, in all

 private:
  struct Sent {
    Shape images, labels;
    std::unique_ptr<Transfer> image_transfer, label_transfer;
    std::int64_t iteration = 0;
    std::vector<DamagedSample> damaged;
  };
  void send_ahead();

  std::unique_ptr<Loader> loader_;
  Device device_;
  double waited_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sent> sent_;
  std::exception_ptr failed_;
  bool stop_ = false;
  std::thread sender_;
};

}  // namespace nextgrad
