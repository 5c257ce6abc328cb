// A training step that is submitted as a whole: on a GPU captured as a CUDA graph after the first
// steps, elsewhere op by op. The same numbers either way.
#pragma once

#include <memory>

#include "apps/training/train_task.h"
#include "nn/gradient_sums.h"
#include "nn/random.h"
#include "nn/share.h"
#include "nn/weights_watch.h"

namespace nextgrad {

class CapturedStep {
 public:
  // All must outlive it. `everyone`: of the model's device.
  CapturedStep(TrainTask& task, Optimizer& optimizer, const TrainerOptions& options,
               Communicator& everyone)
      : task_(task),
        optimizer_(optimizer),
        options_(options),
        everyone_(everyone),
        share_(share_of(everyone, options.batch, options.mirrored)),
        sums_(task.model().named_parameters(), everyone, options.bucket << 20),
        refused_(!options.capturable || !everyone.capturable()) {}

  const Share& share() const { return share_; }
  struct Result {
    double loss, grad_norm;  // this share's part of the batch's loss; of all
  };
  // Forward, backward and the optimiser's step at rate lr for a batch that is on the device. Waits
  // for its end. If the gradients are not finite, the weights stay as they were.
  Result operator()(const Batch& batch, double lr) {
    const bool on_gpu = batch.images.device().kind != Device::Kind::cpu;
    if (on_gpu && may_replay(batch, lr)) {
      updated_ = true;
      capture_->replay(static_cast<std::uint64_t>(batch.iteration - captured_.iteration),
                       lr / captured_lr_);
      optimizer_.count_steps(1);
    } else {
      submit(batch, lr);
      ++plain_steps_;
    }
    return {waited_for(loss_) * weight(), norm_.item()};
  }
  // A number that all ranks' work leads to. Where a GPU would wait for a rank that does not come,
  // the barrier notices it.
  double waited_for(const Tensor& number) const {
    everyone_.barrier();
    return number.item();
  }
  // Adds the gradients of the loss of one of `accumulate` micro-batches; with the last, their sums
  // over all ranks are made. Returns the loss of this share's samples.
  Tensor accumulate(const Batch& batch, bool last) {
    const RandomScope random(static_cast<std::uint64_t>(options_.seed),
                             static_cast<std::uint64_t>(batch.iteration));
    const ShareScope share(share_);
    const Variable loss = task_.loss(batch);
    if (last) sums_.begin();
    loss.backward(Tensor::full(loss.shape(), weight(), loss.dtype(), loss.device()));
    if (last) sums_.finish();
    return loss.value();
  }
  // What the loss of this share counts of the mean over all micro-batches.
  double weight() const {
    return static_cast<double>(share_.count()) /
           static_cast<double>(share_.total * options_.accumulate);
  }
  // The optimiser's step with the gradients as they are. Returns their norm.
  Tensor update(double lr) {
    const Tensor norm = grad_norm(task_.model().named_parameters());
    updated_ = true;
    optimizer_.step(lr, {norm, options_.clip_grad});
    return norm;
  }
  // Whether update() was called since begin(): the weights are no more what they were.
  bool updated() const { return updated_; }
  void begin() { updated_ = false; }

 private:
  void submit(const Batch& batch, double lr) {
    task_.model().zero_grad();
    loss_ = accumulate(batch, true);
    norm_ = update(lr);
  }

  // Whether the capture is one of this step; makes it when it is time.
  bool may_replay(const Batch& batch, double lr) {
    if (weights_.moved()) {  // it would go on with those that were there before
      capture_.reset();
      plain_steps_ = 0;
    }
    if (capture_ != nullptr)
      return batch.images.shares_storage(captured_.images) &&
             batch.labels.shares_storage(captured_.labels);
    // Before it, the optimiser's moments are made, and every algorithm is chosen.
    constexpr int kPlainSteps = 2;
    // A rate of zero cannot be scaled to another one.
    if (refused_ || plain_steps_ < kPlainSteps || lr <= 0) return false;
    task_.model().zero_grad();  // the capture would keep the last step's gradients for itself
    try {
      capture_ = batch.images.backend().capture([&] { submit(batch, lr); });
    } catch (const PeerFailure&) {
      throw;
    } catch (const Error&) {
      // There was no memory for it, say: what is wrong with the step itself, the step will tell.
    }
    if (updated_) optimizer_.count_steps(-1);  // submit() has counted one that nobody took yet
    updated_ = false;
    // All replay, or none.
    Tensor without = Tensor::full({1}, capture_ == nullptr ? 1 : 0, DType::i32);
    everyone_.sum(without);
    refused_ = without.item() > 0;
    if (refused_) {
      capture_.reset();
      return false;
    }
    captured_ = batch;
    captured_lr_ = lr;
    return true;
  }

  TrainTask& task_;
  Optimizer& optimizer_;
  const TrainerOptions& options_;
  Communicator& everyone_;
  Share share_;
  WeightsWatch weights_{task_.model()};
  GradientSums sums_;
  Tensor loss_, norm_;
  int plain_steps_ = 0;
  bool updated_ = false;
  bool refused_;  // not to be captured, or the device could not
  std::unique_ptr<Capture> capture_;
  Batch captured_;  // the tensors that the capture reads
  double captured_lr_ = 0;
};

}  // namespace nextgrad
