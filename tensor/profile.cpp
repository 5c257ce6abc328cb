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

void Profile::add(double seconds, std::int64_t launches, const Work& work) {
  const std::scoped_lock lock(mutex_);
  OpCost& cost = ops_[fmt::format(fmt::runtime(work.name), work.kh, work.kw)];
  cost.calls += 1;
  cost.launches += launches;
  cost.seconds += seconds;
  cost.flops += work.flops;
  cost.bytes += work.bytes;
  cost.bf16_product_flops += work.bf16_product_flops;
  cost.f32_product_flops += work.f32_product_flops;
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
  profile->add(elapsed.count(), launches - launches_before_, work_);
}

}  // namespace nextgrad
