#include "tensor/profile.h"

#include <atomic>

#include "tensor/error.h"

namespace nextgrad {

namespace {
std::atomic<Profile*> active_profile{nullptr};
thread_local int open_scopes = 0;
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

void OpScope::start(const Work& work) {
  profiled_ = true;
  outermost_ = open_scopes++ == 0;
  work_ = work;
  begin_ = std::chrono::steady_clock::now();
}

void OpScope::finish() {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
  --open_scopes;
  Profile* profile = Profile::active();
  if (!outermost_ || profile == nullptr) return;
  profile->add(fmt::format(fmt::runtime(work_.name), work_.kh, work_.kw), elapsed.count(),
               work_.flops, work_.bytes);
}

}  // namespace nextgrad
