#include "tensor/profile.h"

#include <atomic>

#include "tensor/error.h"

namespace nextgrad {

namespace {
std::atomic<Profile*> active_profile{nullptr};
}

Profile::Profile() {
  Profile* none = nullptr;
  check(active_profile.compare_exchange_strong(none, this), "one Profile at a time");
}

Profile::~Profile() {
  active_profile = nullptr;
}

Profile* Profile::active() {
  return active_profile;
}

void Profile::add(const std::string& name, double seconds, double flops, double bytes) {
  const std::scoped_lock lock(mutex_);
  OpCost& cost = ops_[name];
  cost.calls += 1;
  cost.seconds += seconds;
  cost.flops += flops;
  cost.bytes += bytes;
}

void OpScope::start(const char* name, double flops, double bytes) {
  profiled_ = true;
  name_ = name;
  flops_ = flops;
  bytes_ = bytes;
  begin_ = std::chrono::steady_clock::now();
}

void OpScope::finish() {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
  if (Profile* profile = Profile::active()) profile->add(name_, elapsed.count(), flops_, bytes_);
}

}  // namespace nextgrad
