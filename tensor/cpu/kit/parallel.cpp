#include "tensor/cpu/kit/parallel.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

namespace nextgrad::cpu {

namespace {

// How long a thread looks for the next region, or for the end of this one, before it sleeps. The
// ops of a model follow each other within microseconds.
constexpr std::chrono::microseconds kSpin{50};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns when value is not `old`.
template <class T>
void await_change(const std::atomic<T>& value, T old) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i, relax())
      if (value.load(std::memory_order_acquire) != old) return;
  } while (std::chrono::steady_clock::now() < end);
  value.wait(old, std::memory_order_acquire);
}

thread_local bool in_region = false;

// Of a thread; alone on its cache lines.
struct alignas(128) Run {
  std::atomic<std::int64_t> next;
  std::int64_t end;
};

struct Region {
  void (*task)(const void* body, std::int64_t i);
  const void* body;
  int threads;
  Run* runs;
  std::atomic<bool> failed = false;
  std::exception_ptr error = nullptr;

  void work(int self) {
    for (int t = 0; t < threads; ++t) {
      Run& run = runs[(self + t) % threads];
      while (!failed.load(std::memory_order_relaxed)) {
        const std::int64_t i = run.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= run.end) break;
        attempt(i);
      }
    }
  }
  void attempt(std::int64_t i) {
    try {
      task(body, i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
};

class Pool {
 public:
  // False if another thread's region is running.
  bool run(Region& region, std::int64_t n) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    grow(region.threads);
    region.runs = runs_.get();
    for (int t = 0; t < region.threads; ++t) {
      runs_[t].next.store(n * t / region.threads, std::memory_order_relaxed);
      runs_[t].end = n * (t + 1) / region.threads;
    }
    region_.store(&region);
    generation_.fetch_add(1);
    generation_.notify_all();
    in_region = true;
    region.work(0);
    in_region = false;
    // Who comes now finds no region; who has found it is inside.
    region_.store(nullptr);
    for (int inside; (inside = inside_.load()) != 0;) await_change(inside_, inside);
    return true;
  }

 private:
  void grow(int threads) {
    if (threads <= size_) return;
    runs_ = std::make_unique<Run[]>(static_cast<std::size_t>(threads));
    for (; size_ < threads; ++size_)
      std::thread([this, self = size_, seen = generation_.load()] { serve(self, seen); }).detach();
  }
  void serve(int self, std::uint32_t seen) {
    in_region = true;
    for (;;) {
      await_change(generation_, seen);
      seen = generation_.load();
      inside_.fetch_add(1);
      if (Region* region = region_.load(); region != nullptr && self < region->threads)
        region->work(self);
      if (inside_.fetch_sub(1) == 1) inside_.notify_one();
    }
  }

  std::mutex busy_;
  std::unique_ptr<Run[]> runs_;
  int size_ = 1;  // threads, with the one that calls
  std::atomic<Region*> region_ = nullptr;
  std::atomic<int> inside_ = 0;  // threads that may have found the region
  std::atomic<std::uint32_t> generation_ = 0;
};

Pool& pool() {
  static Pool* p = new Pool;  // never destroyed: its threads wait until the process ends
  return *p;
}

}  // namespace

void run_tasks(std::int64_t n, int threads, void (*task)(const void* body, std::int64_t i),
               const void* body) {
  Region region{task, body, threads, nullptr};
  if (threads > 1 && !in_region && pool().run(region, n)) {
    if (region.error) std::rethrow_exception(region.error);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) task(body, i);
}

}  // namespace nextgrad::cpu
