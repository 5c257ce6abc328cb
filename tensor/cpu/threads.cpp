#include "tensor/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "tensor/error.h"

namespace nextgrad {
namespace {

std::atomic<int> thread_count{0};

// What OMP_NUM_THREADS says, as everywhere; or the cores this process may use.
int all_threads() {
  static const int all = [] {
    const char* wanted = getenv("OMP_NUM_THREADS");
    if (const int n = wanted != nullptr ? atoi(wanted) : 0; n > 0) return std::min(n, 1024);
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }();
  return all;
}

}  // namespace

void set_num_threads(int threads, int processes) {
  check(threads >= 0 && threads <= 1024, "number of threads must lie in 0 to 1024, got {}",
        threads);
  if (threads == 0 && processes > 1) threads = std::max(1, all_threads() / processes);
  thread_count = threads;
}

int num_threads() {
  const int wanted = thread_count.load(std::memory_order_relaxed);
  return wanted > 0 ? wanted : all_threads();
}

}  // namespace nextgrad
