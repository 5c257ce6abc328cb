#include "tensor/profile.h"

#include "tensor/error.h"

namespace nextgrad {

namespace {
Profile* active_profile = nullptr;
}

Profile::Profile() {
  check(active_profile == nullptr, "one Profile at a time");
  active_profile = this;
}

Profile::~Profile() {
  active_profile = nullptr;
}

Profile* Profile::active() {
  return active_profile;
}

void Profile::add(const std::string& name, double seconds, double flops, double bytes) {
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
