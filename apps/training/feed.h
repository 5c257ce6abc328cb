// Batches on the device that trains. For a GPU, a thread takes the next one from the loader and
// sends it while the GPU computes.
#pragma once

#include <future>
#include <memory>

#include "data/stream/loader.h"
#include "tensor/backend.h"

namespace nextgrad {

class Feed {
 public:
  Feed(std::unique_ptr<Loader> loader, Device device);
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // The next batch into `batch`: on a GPU into the tensors it has, if they fit, so that a recorded
  // step finds each batch at the same addresses. Rethrows what the loader threw.
  void next(Batch& batch);
  // How long next() has waited for batches, in all; on the CPU with the copy into tensors.
  double wait_seconds() const { return waited_; }

 private:
  struct Sent {
    Batch batch;  // on the host
    std::unique_ptr<Transfer> images, labels;
  };
  void send_ahead();

  std::unique_ptr<Loader> loader_;
  Device device_;
  double waited_ = 0;
  std::future<Sent> coming_;  // last: destroyed, and so waited for, before the loader
};

}  // namespace nextgrad
