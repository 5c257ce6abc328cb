// Batches on the device that trains. For a GPU, a thread takes the next one from the loader and
// sends it while the GPU computes.
#pragma once

#include <future>
#include <memory>

#include "apps/inference/pipeline.h"
#include "apps/report/progress.h"
#include "data/stream/loader.h"
#include "tensor/backend.h"

namespace nextgrad {

class Feed {
 public:
  Feed(std::unique_ptr<Loader> loader, Device device)
      : loader_(std::move(loader)), device_(device) {
    if (device_.kind != Device::Kind::cpu) send_ahead();
  }
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // The next batch into `batch`: on a GPU into the tensors it has, if they fit, so that a captured
  // step finds each batch at the same addresses. Rethrows what the loader threw.
  void next(Batch& batch) {
    const Stopwatch clock;
    if (device_.kind == Device::Kind::cpu) {
      batch = loader_->next();
      waited_ += clock.seconds();
      return;
    }
    Sent sent = coming_.get();
    send_ahead();  // after the last batch an error, for whoever asks for one more
    waited_ += clock.seconds();
    const auto receive = [&](Transfer& transfer, const Tensor& host, Tensor& to) {
      if (!to.defined() || !(to.shape() == host.shape()))
        to = Tensor::empty(host.shape(), host.dtype(), device_);
      transfer.receive(to);
    };
    receive(*sent.images, sent.batch.images, batch.images);
    receive(*sent.labels, sent.batch.labels, batch.labels);
    batch.iteration = sent.batch.iteration;
    batch.damaged = std::move(sent.batch.damaged);
  }
  // How long next() has waited for batches, in all; on the CPU with the copy into tensors.
  double wait_seconds() const { return waited_; }

 private:
  struct Sent {
    Batch batch;  // on the host
    std::unique_ptr<Transfer> images, labels;
  };
  void send_ahead() {
    coming_ = in_background([this] {
      Batch batch = loader_->next();
      Backend& backend = backend_of(device_);
      auto images = backend.send(batch.images), labels = backend.send(batch.labels);
      return Sent{std::move(batch), std::move(images), std::move(labels)};
    });
  }

  std::unique_ptr<Loader> loader_;
  Device device_;
  double waited_ = 0;
  std::future<Sent> coming_;  // last: destroyed, and so waited for, before the loader
};

}  // namespace nextgrad
