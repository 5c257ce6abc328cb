#include "apps/training/feed.h"

#include "apps/report/progress.h"

namespace nextgrad {
namespace {

constexpr std::size_t kAhead = 2;  // batches on their way: one is taken, one arrives

}  // namespace

Feed::Feed(std::unique_ptr<Loader> loader, Device device)
    : loader_(std::move(loader)), device_(device) {
  if (device_.kind != Device::Kind::cpu) sender_ = std::thread([this] { send_ahead(); });
}

Feed::~Feed() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (sender_.joinable()) sender_.join();
}

void Feed::send_ahead() {
  try {
    while (!loader_->done()) {
      const Batch batch = loader_->next();
      Backend& backend = backend_of(device_);
      Sent sent{batch.images.shape(),       batch.labels.shape(), backend.send(batch.images),
                backend.send(batch.labels), batch.iteration,      batch.damaged};
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || sent_.size() < kAhead; });
      if (stop_) return;
      sent_.push_back(std::move(sent));
      changed_.notify_all();
    }
    fail("the feed has no batch left");  // for whoever asks for one more
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    failed_ = std::current_exception();
    changed_.notify_all();
  }
}

void Feed::next(Batch& batch) {
  if (device_.kind == Device::Kind::cpu) {
    batch = loader_->next();
    return;
  }
  const Stopwatch clock;
  Sent sent;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !sent_.empty() || failed_ != nullptr; });
    if (sent_.empty()) std::rethrow_exception(failed_);
    sent = std::move(sent_.front());
    sent_.pop_front();
    changed_.notify_all();
  }
  waited_ += clock.seconds();
  const auto receive = [&](Transfer& transfer, const Shape& shape, DType dtype, Tensor& to) {
    if (!to.defined() || !(to.shape() == shape)) to = Tensor::empty(shape, dtype, device_);
    transfer.receive(to);
  };
  receive(*sent.image_transfer, sent.images, DType::f32, batch.images);
  receive(*sent.label_transfer, sent.labels, DType::i32, batch.labels);
  batch.iteration = sent.iteration;
  batch.damaged = std::move(sent.damaged);
}

double Feed::wait_seconds() const {
  return device_.kind == Device::Kind::cpu ? loader_->wait_seconds() : waited_;
}

}  // namespace nextgrad
