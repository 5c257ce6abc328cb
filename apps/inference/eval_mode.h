// A module in evaluation mode for a while.
#pragma once

#include "nn/module.h"

namespace nextgrad {

// Puts the module back into the mode it was in when it goes, also when something throws.
class EvalMode {
 public:
  explicit EvalMode(Module& module) : module_(module), before_(module.training()) { module.eval(); }
  ~EvalMode() { module_.train(before_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  Module& module_;
  bool before_;
};

}  // namespace nextgrad
