// What the machine did: every backend op reports its name, time, FLOPs and fewest bytes here while
// a Profile is alive. Costs one test of a pointer otherwise.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace nextgrad {

struct OpCost {
  std::int64_t calls = 0;
  std::int64_t launches = 0;  // what a GPU was told to do: kernels, products, copies
  double seconds = 0;
  double flops = 0;  // a multiply-add counts 2
  double bytes = 0;  // each input read once, each output written once
  // Of the FLOPs, those of matrix products, for which a device may have units of their own.
  double bf16_product_flops = 0, f32_product_flops = 0;
};

// What an op is called and what it costs: tensor/costs.h.
struct Work {
  const char* name;
  double flops, bytes;
  int kh = 0, kw = 0;  // where the name says {}x{}
  double bf16_product_flops = 0, f32_product_flops = 0;
};

// Collects costs by op name, of all threads, from construction to destruction (one at a time per
// process; ops() once they are done).
class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  const std::map<std::string, OpCost>& ops() const { return ops_; }
  static Profile* active();
  void add(double seconds, std::int64_t launches, const Work& work);

 private:
  std::mutex mutex_;  // of ops_, for add()
  std::map<std::string, OpCost> ops_;
};

// Called for each thing that a GPU is told to do; it counts for the op that this thread is in.
void note_launch();

// Put at the top of a backend method: OpScope scope(costs::conv2d(x, weight, y)). An op within an
// op is part of that one, so that names mean the same on every backend, however it is composed
// there.
class OpScope {
 public:
  explicit OpScope(const Work& work) {
    if (Profile::active() != nullptr) start(work);
  }
  ~OpScope() {
    if (profiled_) finish();
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

 private:
  void start(const Work& work);
  void finish();
  bool profiled_ = false, outermost_ = false;
  Work work_{};
  std::int64_t launches_before_ = 0;
  std::chrono::steady_clock::time_point begin_;
};

// Seconds of the fastest of so many calls of fn.
template <class Fn>
double fastest(int runs, Fn&& fn) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30;
  for (int run = 0; run < runs; ++run) {
    const auto begin = Clock::now();
    fn();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

}  // namespace nextgrad
