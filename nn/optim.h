// Optimisers over named parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/module.h"
#include "nn/state_dict.h"

namespace nextgrad {

// Applies to parameters whose full name contains `contains` anywhere ("head" is also in "overhead":
// write as much of the name as tells it apart, "decode_head."); the first rule that matches wins.
struct ParameterRule {
  std::string contains;
  double lr_scale = 1;
  double decay_scale = 1;
};
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One step with the base learning rate `lr` (times each parameter's scale), in place. Parameters
  // without a gradient are left alone; all are if `norm` is given and is not finite, and then the
  // step does not count.
  void step(double lr, const GradientNorm& norm = {});
  void zero_grad();
  // Steps that were done without step(): replays of a capture of it.
  void count_steps(std::int64_t n);
  // State for an exact resume, in this library's layouts: "step" i64 [parameters] and the moments.
  StateDict state() const;
  // Throws InputError, changing nothing, unless names and shapes are those of state().
  void load_state(const StateDict& state);

  struct Slot {  // what it keeps of one parameter
    Parameter parameter;
    double lr_scale = 1, decay_scale = 1;
    std::int64_t steps = 0;       // asked for, those refused for their norm included
    std::vector<Tensor> moments;  // empty before the first step
  };
  const std::vector<Slot>& slots() const { return slots_; }

 protected:
  // `moments`: the names of what it keeps of each parameter; `update`: what does a step.
  using Update =
      std::function<void(Backend&, std::vector<OptimizerSlot>& slots, const GradientNorm& norm)>;
  Optimizer(const std::vector<Parameter>& parameters, const std::vector<ParameterRule>& rules,
            double weight_decay, std::vector<std::string> moments, Update update);

 private:
  double weight_decay_;
  std::vector<std::string> moments_;
  Update update_;
  std::vector<Slot> slots_;
  Tensor refused_;  // i64 [parameters], on their device; undefined before the first norm
};

// Their formulas stand with their options, in tensor/optimizer_slot.h.
struct AdamW : Optimizer {
  AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options = {},
        const std::vector<ParameterRule>& rules = {});
};
struct SGD : Optimizer {
  SGD(const std::vector<Parameter>& parameters, const SGDOptions& options = {},
      const std::vector<ParameterRule>& rules = {});
};

// L2 norm of all gradients together, f64 [] on their device (no waiting); 0 if there is none.
Tensor grad_norm(const std::vector<Parameter>& parameters);
// Multiplies all gradients (1 / number of accumulated batches).
void scale_grads(const std::vector<Parameter>& parameters, double factor);

}  // namespace nextgrad
