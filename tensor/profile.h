// What the machine did: every backend op reports its name, time, FLOPs and fewest bytes here while
// a Profile is alive. Costs one test of a pointer otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace nextgrad {

struct OpCost {
  std::int64_t calls = 0;
  double seconds = 0;
  double flops = 0;  // a multiply-add counts 2
  double bytes = 0;  // each input read once, each output written once
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
  void add(const std::string& name, double seconds, double flops, double bytes);

 private:
  std::mutex mutex_;  // of ops_, for add()
  std::map<std::string, OpCost> ops_;
};

// Put at the top of a backend method: OpScope scope("conv2d", flops, bytes). An op within an op is
// part of that one, so that names mean the same on every backend, however it is composed there; one
// that names no costs has those of its parts.
class OpScope {
 public:
  OpScope(const char* name, double flops = kOfParts, double bytes = kOfParts) {
    if (Profile::active() != nullptr) start(name, flops, bytes);
  }
  OpScope(const std::string& name, double flops, double bytes)
      : OpScope(name.c_str(), flops, bytes) {}
  ~OpScope() {
    if (profiled_) finish();
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

 private:
  static constexpr double kOfParts = -1;
  void start(const char* name, double flops, double bytes);
  void finish();
  bool profiled_ = false, outermost_ = false;
  std::string name_;
  double flops_ = 0, bytes_ = 0;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace nextgrad
