// Work beside the main thread: results made ahead of their use, and tasks left behind to finish.
// Each runs in a thread of its own, a few at most at a time; errors come out in the order of the
// work, where the main thread next asks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

namespace nextgrad {

// How many of them at a time, if not told otherwise: enough to keep the main thread fed when one is
// slow (a disk, a large picture), few enough to hold in memory.
inline constexpr std::size_t kPipelineDepth = 3;

// A thread each; without one to be had, the work is done when it is asked for.
template <class Fn>
auto in_background(Fn&& fn) {
  // An rvalue would be moved into the thread, and be gone if there is none.
  const auto task = std::make_shared<std::decay_t<Fn>>(std::forward<Fn>(fn));
  const auto call = [task] { return (*task)(); };
  return std::async(std::launch::async | std::launch::deferred, call);
}

// make(0), make(1), ... make(n - 1), in this order, `depth` of them at a time.
template <class T>
class Ahead {
 public:
  Ahead(std::int64_t n, std::function<T(std::int64_t)> make, std::size_t depth = kPipelineDepth)
      : n_(n), depth_(std::max<std::size_t>(1, depth)), make_(std::move(make)) {
    begin_more();
  }
  Ahead(const Ahead&) = delete;  // the threads know its address
  Ahead& operator=(const Ahead&) = delete;
  // The next result, or what making it threw.
  T next() {
    auto first = std::move(under_way_.front());
    under_way_.pop_front();
    first.wait();
    begin_more();
    return first.get();
  }

 private:
  void begin_more() {
    while (begun_ < n_ && under_way_.size() < depth_)
      under_way_.push_back(in_background([this, i = begun_++] { return make_(i); }));
  }
  std::int64_t n_, begun_ = 0;
  std::size_t depth_;
  std::function<T(std::int64_t)> make_;
  std::deque<std::future<T>> under_way_;  // last: destroyed, and so waited for, before make_
};

// Tasks whose results are files. Destroyed, it waits for what is under way.
class Behind {
 public:
  // Begins a task, once there is room for it. Throws what the earliest one not asked about threw.
  void begin(std::function<void()> task) {
    if (under_way_.size() >= kPipelineDepth) wait_for_one();
    under_way_.push_back(in_background(std::move(task)));
  }
  // Waits for all; throws like begin.
  void finish() {
    while (!under_way_.empty()) wait_for_one();
  }

 private:
  void wait_for_one() {
    auto first = std::move(under_way_.front());
    under_way_.pop_front();
    first.get();
  }
  std::deque<std::future<void>> under_way_;
};

}  // namespace nextgrad
