#include "tensor/profile.h"

#include <algorithm>
#include <atomic>

#include "tensor/error.h"

namespace nextgrad {

namespace {
std::atomic<Profile*> active_profile{nullptr};
thread_local int open_scopes = 0;
thread_local double parts_flops = 0, parts_bytes = 0;  // of the ops within the outermost
}  // namespace

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
  outermost_ = open_scopes++ == 0;
  if (outermost_) parts_flops = parts_bytes = 0;
  name_ = name;
  flops_ = flops;
  bytes_ = bytes;
  begin_ = std::chrono::steady_clock::now();
}

void OpScope::finish() {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
  --open_scopes;
  if (!outermost_) {
    parts_flops += std::max(flops_, 0.0);
    parts_bytes += std::max(bytes_, 0.0);
  } else if (Profile* profile = Profile::active()) {
    profile->add(name_, elapsed.count(), flops_ < 0 ? parts_flops : flops_,
                 bytes_ < 0 ? parts_bytes : bytes_);
  }
}

}  // namespace nextgrad
