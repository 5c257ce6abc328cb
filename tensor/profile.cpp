#include "tensor/profile.h"

#include <atomic>

#include "tensor/error.h"

namespace nextgrad {

namespace {
std::atomic<Profile*> active_profile{nullptr};
thread_local int open_scopes = 0;
thread_local std::int64_t launches = 0;
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

void Profile::add(const std::string& name, const OpCost& cost) {
  const std::scoped_lock lock(mutex_);
  OpCost& sum = ops_[name];
  sum.calls += cost.calls;
  sum.launches += cost.launches;
  sum.seconds += cost.seconds;
  sum.flops += cost.flops;
  sum.bytes += cost.bytes;
}

void note_launch() {
  ++launches;
}

void OpScope::start(const Work& work) {
  profiled_ = true;
  outermost_ = open_scopes++ == 0;
  work_ = work;
  launches_before_ = launches;
  begin_ = std::chrono::steady_clock::now();
}

void OpScope::finish() {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
  --open_scopes;
  Profile* profile = Profile::active();
  if (!outermost_ || profile == nullptr) return;
  profile->add(fmt::format(fmt::runtime(work_.name), work_.kh, work_.kw),
               {.calls = 1,
                .launches = launches - launches_before_,
                .seconds = elapsed.count(),
                .flops = work_.flops,
                .bytes = work_.bytes});
}

}  // namespace nextgrad
