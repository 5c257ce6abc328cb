#include "apps/training/recorded_step.h"

#include "nn/random.h"

namespace nextgrad {
namespace {

// Before the capture: the optimiser's moments are made, and every algorithm is chosen.
constexpr int kPlainSteps = 2;

}  // namespace

void RecordedStep::submit(const Batch& batch, double lr) {
  const RandomScope random(seed_, static_cast<std::uint64_t>(batch.iteration));
  task_.model().zero_grad();
  const Variable loss = task_.loss(batch);
  loss.backward();
  loss_ = loss.value();
  norm_ = update(lr);
}

Tensor RecordedStep::update(double lr) {
  const Tensor norm = grad_norm(task_.model().named_parameters());
  updated_ = true;
  optimizer_.step(lr, {norm, clip_});
  return norm;
}

// Whether the capture is one of this step; makes it when it is time.
bool RecordedStep::may_replay(const Batch& batch, double lr) {
  if (capture_ != nullptr) {
    return batch.images.shares_storage(recorded_.images) &&
           batch.labels.shares_storage(recorded_.labels);
  }
  // A rate of zero cannot be scaled to another one.
  if (!task_.recordable() || refused_ || plain_steps_ < kPlainSteps || lr <= 0) return false;
  Backend& backend = batch.images.backend();
  backend.empty_cache();  // the capture has memory of its own
  try {
    capture_ = backend.capture([&] { submit(batch, lr); });
  } catch (const Error&) {
    // There was no memory for it, say: what is wrong with the step itself, the step will tell.
    refused_ = true;
  }
  if (capture_ == nullptr) return false;
  optimizer_.count_steps(-1);  // submit() has counted one that nobody took yet
  recorded_ = batch;
  recorded_lr_ = lr;
  return true;
}

RecordedStep::Result RecordedStep::operator()(const Batch& batch, double lr) {
  const bool on_gpu = batch.images.device().kind != Device::Kind::cpu;
  if (on_gpu && may_replay(batch, lr)) {
    capture_->replay(static_cast<std::uint64_t>(batch.iteration - recorded_.iteration),
                     lr / recorded_lr_);
    optimizer_.count_steps(1);
  } else {
    submit(batch, lr);
    ++plain_steps_;
  }
  return {loss_.item(), norm_.item()};
}

}  // namespace nextgrad
