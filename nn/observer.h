// Looking into a model while it computes: layers hand what is worth seeing to whoever looks.
#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include "nn/module.h"

namespace nextgrad {

// While one lives, this thread's models call it: with the layer, what its value is, and the value.
class Observer {
 public:
  using See =
      std::function<void(const Module& layer, std::string_view what, const Variable& value)>;
  explicit Observer(See see) : see_(std::move(see)), before_(std::exchange(active_, this)) {}
  ~Observer() { active_ = before_; }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  static void tell(const Module& layer, std::string_view what, const Variable& value) {
    if (active_ != nullptr) active_->see_(layer, what, value);
  }

 private:
  See see_;
  Observer* before_;
  inline static thread_local Observer* active_ = nullptr;
};

}  // namespace nextgrad
