#include "nn/optim.h"

#include <algorithm>

#include "tensor/ops.h"

namespace nextgrad {

Optimizer::Optimizer(const std::vector<Parameter>& parameters,
                     const std::vector<ParameterRule>& rules, double weight_decay,
                     std::vector<std::string> moments, Update update)
    : weight_decay_(weight_decay), moments_(std::move(moments)), update_(std::move(update)) {
  for (const Parameter& p : parameters) {
    const auto rule = std::ranges::find_if(rules, [&](const ParameterRule& r) {
      return p.name.find(r.contains) != std::string::npos;
    });
    const ParameterRule& r = rule == rules.end() ? ParameterRule() : *rule;
    slots_.push_back(
        {.parameter = p, .lr_scale = r.lr_scale, .decay_scale = r.decay_scale, .moments = {}});
  }
}

void Optimizer::step(double lr, const GradientNorm& norm) {
  std::vector<OptimizerSlot> slots;
  const auto count = static_cast<std::int64_t>(slots_.size());
  for (std::int64_t i = 0; i < count; ++i) {
    Slot& slot = slots_[static_cast<std::size_t>(i)];
    const Tensor& grad = slot.parameter.value.grad();
    if (!grad.defined()) continue;
    const Tensor value = slot.parameter.value.value();
    const Device first = slots.empty() ? value.device() : slots.front().p.device();
    check(value.device() == first,
          "optimiser: parameters are on {} and {}; it steps those of one device", first,
          value.device());
    if (norm.norm.defined() && !refused_.defined())
      refused_ = Tensor::zeros({count}, DType::i64, value.device());
    while (slot.moments.size() < moments_.size())
      slot.moments.push_back(Tensor::zeros(value.shape(), value.dtype(), value.device()));
    ++slot.steps;
    slots.push_back({.p = value,
                     .grad = grad.contiguous(),
                     .m = slot.moments[0],
                     .v = slot.moments.size() > 1 ? slot.moments[1] : Tensor(),
                     .lr = lr * slot.lr_scale,
                     .weight_decay = weight_decay_ * slot.decay_scale,
                     .step = slot.steps,
                     .refused = refused_.defined() ? refused_.slice(0, i, i + 1) : Tensor()});
  }
  if (!slots.empty()) update_(slots[0].p.backend(), slots, norm);
}

void Optimizer::count_steps(std::int64_t n) {
  for (Slot& slot : slots_)
    if (slot.parameter.value.grad().defined()) slot.steps += n;
}

void Optimizer::zero_grad() {
  for (Slot& slot : slots_) slot.parameter.value.zero_grad();
}

StateDict Optimizer::state() const {
  std::vector<std::int64_t> steps(slots_.size(), 0);
  if (refused_.defined()) steps = refused_.to_vector<std::int64_t>();
  StateDict dict;
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    const Slot& slot = slots_[s];
    steps[s] = slot.steps - steps[s];
    for (std::size_t i = 0; i < slot.moments.size(); ++i)
      dict.push_back(
          {moments_[i] + "." + slot.parameter.name, slot.moments[i].to(Device{}).clone()});
  }
  dict.push_back({"step", Tensor::from(steps, {static_cast<std::int64_t>(steps.size())})});
  return dict;
}

void Optimizer::load_state(const StateDict& state) {
  const auto find = [&](const std::string& name, const Shape& shape) {
    return find_tensor(state, "optimiser", name, shape);
  };
  const auto steps =
      find("step", {static_cast<std::int64_t>(slots_.size())}).to_vector<std::int64_t>();
  std::vector<Slot> loaded = slots_;
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    Slot& slot = loaded[i];
    slot.steps = steps[i];
    if (slot.steps < 0)
      fail_input("optimiser state: {} has done {} steps", slot.parameter.name, slot.steps);
    slot.moments.clear();
    if (slot.steps == 0) continue;
    const Tensor& value = slot.parameter.value.value();
    for (const std::string& name : moments_) {
      const Tensor t = find(name + "." + slot.parameter.name, value.shape());
      slot.moments.push_back(t.to(value.dtype()).to(value.device()).clone());
    }
  }
  slots_ = std::move(loaded);
  refused_ = Tensor();
}

AdamW::AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options,
             const std::vector<ParameterRule>& rules)
    : Optimizer(parameters, rules, options.weight_decay, {"exp_avg", "exp_avg_sq"},
                [options](Backend& b, auto& slots, auto& norm) { b.adamw(slots, options, norm); }) {
}

SGD::SGD(const std::vector<Parameter>& parameters, const SGDOptions& options,
         const std::vector<ParameterRule>& rules)
    : Optimizer(parameters, rules, options.weight_decay, {"momentum_buffer"},
                [options](Backend& b, auto& slots, auto& norm) { b.sgd(slots, options, norm); }) {}

void scale_grads(const std::vector<Parameter>& parameters, double factor) {
  for (const Parameter& p : parameters)
    if (p.value.grad().defined()) Variable(p.value).set_grad(p.value.grad() * factor);
}

Tensor grad_norm(const std::vector<Parameter>& parameters) {
  std::vector<Tensor> grads;
  for (const Parameter& p : parameters)
    if (p.value.grad().defined()) grads.push_back(p.value.grad().contiguous());
  return grads.empty() ? Tensor::scalar(0, DType::f64) : grads[0].backend().norm(grads);
}

}  // namespace nextgrad
