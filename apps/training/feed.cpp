#include "apps/training/feed.h"

#include "apps/inference/pipeline.h"
#include "apps/report/progress.h"

namespace nextgrad {

Feed::Feed(std::unique_ptr<Loader> loader, Device device)
    : loader_(std::move(loader)), device_(device) {
  if (device_.kind != Device::Kind::cpu) send_ahead();
}

void Feed::send_ahead() {
  coming_ = in_background([this] {
    Batch batch = loader_->next();
    Backend& backend = backend_of(device_);
    auto images = backend.send(batch.images), labels = backend.send(batch.labels);
    return Sent{std::move(batch), std::move(images), std::move(labels)};
  });
}

void Feed::next(Batch& batch) {
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

}  // namespace nextgrad
