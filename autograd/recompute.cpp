#include "autograd/recompute.h"

namespace nextgrad {

namespace {

thread_local bool in_second_run = false;

ReplayHook& hook() {
  static auto* only = new ReplayHook{[] { return std::uint64_t{0}; }, [](std::uint64_t) {}};
  return *only;
}

// Puts the thread back into the state of the first run, and afterwards into the one it was in.
class SecondRun {
 public:
  explicit SecondRun(std::uint64_t state) : now_(hook().save()) {
    hook().restore(state);
    in_second_run = true;
  }
  ~SecondRun() {
    in_second_run = before_;
    hook().restore(now_);
  }
  SecondRun(const SecondRun&) = delete;
  SecondRun& operator=(const SecondRun&) = delete;

 private:
  std::uint64_t now_;
  bool before_ = in_second_run;
};

}  // namespace

bool recomputing() {
  return in_second_run;
}

void set_replay_hook(ReplayHook replay) {
  hook() = std::move(replay);
}

Variable recomputed(const std::function<Variable(const std::vector<Variable>&)>& fn,
                    const std::vector<Variable>& inputs) {
  if (!grad_enabled()) return fn(inputs);
  const std::uint64_t state = hook().save();
  std::vector<Variable> values;
  for (const Variable& input : inputs) values.push_back(input.detach());
  Variable y;
  std::vector<Saved> captured;
  {
    const NoGrad first_run;
    Watch watch;
    y = fn(values).detach();  // not asked for yet: what reads it may want its moments
    captured = std::move(watch.seen);
  }
  std::vector<Saved> saved;
  std::vector<bool> needs;
  for (const Variable& input : inputs) {
    saved.emplace_back(input);
    needs.push_back(input.requires_grad());
  }
  // fn may use parameters that are not among the inputs, so a node is needed in any case: an input
  // that always requires a gradient stands for them.
  std::vector<Variable> parents = inputs;
  parents.emplace_back(Tensor::zeros({}, y.dtype(), y.device()), true);
  return record("recomputed", y, parents, [=](const Tensor& dy) -> std::vector<Tensor> {
    for (const Saved& value : captured) value.get();  // throws if it was changed
    const InnerGraph inner;
    std::vector<Variable> leaves;
    for (std::size_t i = 0; i < saved.size(); ++i) leaves.emplace_back(saved[i].get(), needs[i]);
    {
      const SecondRun second(state);
      const EnableGrad on;
      inner.backward(fn(leaves), dy.contiguous());
    }
    std::vector<Tensor> gradients;
    for (const Variable& leaf : leaves) gradients.push_back(leaf.grad());
    gradients.emplace_back();
    return gradients;
  });
}

}  // namespace nextgrad
